"""Files of text with separated fields: opened whatever they are compressed and encoded by, every field read as text."""

import bz2
import codecs
import gzip
import lzma
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from merit.errors import MeritError

BLOCK = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
ZSTD = b"\x28\xb5\x2f\xfd"
_OTHERS = {
    b"PAR1": "a Parquet file; read it by merit.data.sources.Parquet",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"SQLite format 3\0": "a SQLite database; read it by merit.data.sources.Sql",
    b"%PDF": "a PDF; it holds no table that can be read",
    b"ARROW1": "an Arrow file; write it as Parquet",
}


@dataclass(frozen=True)
class Dialect:
    """How a file of text is laid out.

    Attributes:
        separator: one character between fields.
        encoding: as Python calls it; a byte order mark in the file says more.
        skip_rows: lines before the header.
        comment: what lines before the header begin with that are no header either.
    """

    separator: str = ","
    encoding: str = "utf-8"
    skip_rows: int = 0
    comment: str | None = None

    def __post_init__(self) -> None:
        """Check that it can be."""
        if len(self.separator.encode()) != 1 or self.separator in '"\r\n':
            raise ValueError(f"separator: found {self.separator!r}; allowed: one character, such as ';' or '\\t'")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(
                f"encoding: found '{self.encoding}'; allowed: utf-8, utf-16, windows-1252, latin-1 and others of Python"
            ) from error
        if self.skip_rows < 0 or self.comment == "":
            raise ValueError("skip_rows counts lines, and comment is what a line begins with; leave out what isn't so")

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that are not the default, as YAML and JSON have them; the separator always."""
        others = {"encoding": self.encoding, "skip_rows": self.skip_rows, "comment": self.comment}
        default = vars(Dialect())
        return {"separator": self.separator, **{k: v for k, v in others.items() if v != default[k]}}


def dialect_of(settings: Mapping[str, Any] | None) -> Dialect:
    """Return the dialect that a signature has; the usual one where it has none."""
    return Dialect(**settings) if settings else Dialect()


def read(path: Path, dialect: Dialect) -> pl.DataFrame:
    """Return a file as text, an empty field as null.

    Raises:
        MeritError: it is no such file, or its text is not in the encoding that is declared.
        polars.exceptions.PolarsError: its lines are not those of such a file.
    """
    source = path if is_plain(path, dialect) else b"".join(recoded(path, dialect))
    try:
        return pl.read_csv(
            source,
            separator=dialect.separator,
            infer_schema=False,
            null_values=[""],
            skip_lines=leading(path, dialect),
            with_column_names=unquoted,
        )
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error).lower():
            _check_text(path, dialect)
        raise


def unquoted(names: list[str]) -> list[str]:
    """Return names as the header means them: Polars leaves quotes in them doubled, as they are written."""
    return [name.replace('""', '"') for name in names]


def is_plain(path: Path, dialect: Dialect) -> bool:
    """Say whether Polars can read a file as it lies there: UTF-8, and compressed by nothing or what it knows.

    Raises:
        MeritError: it is a file of another kind.
    """
    first = _first(path)
    if found := next((words for mark, words in _OTHERS.items() if first.startswith(mark)), None):
        raise MeritError(f"{path}: is {found}")
    return not first.startswith((b"BZh", b"\xfd7zXZ")) and encoding_of(path, dialect) in {"utf-8", "utf-8-sig"}


def _first(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(16)


def encoding_of(path: Path, dialect: Dialect) -> str:
    """Return the encoding of a file: what its byte order mark names, or else what is declared."""
    with opened(path) as handle:
        first = handle.read(4)
    declared = codecs.lookup(dialect.encoding).name
    return next((name for mark, name in _MARKS if first.startswith(mark)), declared)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file of text, whatever it is compressed by.

    Raises:
        MeritError: it is compressed by zstd, and not in UTF-8.
    """
    first = _first(path)
    if first.startswith(ZSTD):  # by Polars, for the standard library has it only from Python 3.14 on
        yield BytesIO(_lines(path))
        return
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((each for mark, each in openers.items() if first.startswith(mark)), None)
    with opener(path, "rb") if opener else path.open("rb", buffering=BLOCK) as handle:
        yield handle


def _lines(path: Path) -> bytes:
    try:
        return "".join(f"{line}\n" for line in pl.read_lines(path).to_series()).encode()
    except pl.exceptions.ComputeError as error:
        raise MeritError(
            f"{path}: is compressed by zstd and not in UTF-8; compress it by gzip, or write it in UTF-8"
        ) from error


def recoded(path: Path, dialect: Dialect) -> Iterator[bytes]:
    """Give a file in UTF-8, block by block.

    Raises:
        MeritError: its text is not in the encoding that is declared.
    """
    encoding = encoding_of(path, dialect)
    decoder, doubt = codecs.getincrementaldecoder(encoding)(), _Doubt(encoding)
    try:
        with opened(path) as handle:
            while block := handle.read(BLOCK):
                doubt.look(block)
                yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise _miscoded(path, encoding) from error
    if doubt.holds():
        raise MeritError(
            f"{path}: is declared to be in {encoding}, but its text is UTF-8; correct the encoding, or the file"
        )


class _Doubt:
    """Whether text that is declared to be in an old encoding is in UTF-8 after all, which is hardly ever by chance."""

    def __init__(self, encoding: str) -> None:
        self._decoder = None if encoding.startswith("utf") else codecs.getincrementaldecoder("utf-8")()
        self._is_ascii = True

    def look(self, block: bytes) -> None:
        """Look at a block."""
        if self._decoder is None:
            return
        try:
            self._decoder.decode(block)
            self._is_ascii = self._is_ascii and block.isascii()
        except UnicodeError:
            self._decoder = None

    def holds(self) -> bool:
        """Say whether all blocks were UTF-8, and not of ASCII alone, in which no encoding differs."""
        return self._decoder is not None and not self._is_ascii


def leading(path: Path, dialect: Dialect) -> int:
    """Return how many lines lie before the header."""
    if not dialect.skip_rows and dialect.comment is None:
        return 0
    with opened(path) as handle:
        for count, line in enumerate(codecs.getreader(encoding_of(path, dialect))(handle)):
            if count >= dialect.skip_rows and not (dialect.comment and line.startswith(dialect.comment)):
                return count
    raise MeritError(f"{path}: has no header after the lines that data.source leaves out")


def _check_text(path: Path, dialect: Dialect) -> None:
    """Raise what is wrong with text that is not in its encoding, with the byte that says so."""
    for _ in recoded(path, dialect):
        pass


def _miscoded(path: Path, encoding: str) -> MeritError:
    return MeritError(
        f"{path}: its text is not in {encoding}; say which it is by the source's encoding, such as windows-1252"
    )
