"""Delimited text files: opened with any supported compression and encoding, with every field read as text."""

import bz2
import codecs
import csv
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from merit.errors import MeritError
from merit.reading.dialect import Dialect

BLOCK = 1 << 20
HEAD = 1 << 12
LONGEST = 64 * BLOCK
"""The maximum length of a line, in bytes."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
ZLIB = b"x^"
"""A possible beginning of text, such as a column x^2, that Polars takes for zlib unless a byte order mark precedes
it."""
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OPENERS: dict[bytes, Any] = {GZIP: gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_OTHERS = {
    b"PAR1": "a Parquet file; read it by merit.data.sources.Parquet",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"SQLite format 3\0": "a SQLite database; read it by merit.data.sources.Sql",
    b"%PDF": "a PDF; it holds no table that can be read",
    b"ARROW1": "an Arrow file; write it as Parquet",
}


Source = Path | bytes | Callable[[], BinaryIO]


class TextFile:
    """A delimited text file in its declared dialect.

    Args:
        name: the file's name in messages; also its path, unless `source` is given.
        dialect: its layout.
        source: its path, its bytes, or a function that opens it.
    """

    def __init__(self, name: str, dialect: Dialect | None = None, source: Source | None = None) -> None:
        self.name, self.dialect = name, dialect or Dialect()
        self.source: Source = Path(name) if source is None else source

    def _open(self) -> BinaryIO:
        if isinstance(self.source, Path):
            return self.source.open("rb", buffering=BLOCK)
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source()

    @cached_property
    def _first(self) -> bytes:
        with self._open() as handle:
            return handle.read(16)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file's decompressed content.

        Raises:
            MeritError: it is compressed, and damaged or truncated; or compressed by zstd, and not in UTF-8.
        """
        opener = next((each for mark, each in _OPENERS.items() if self._first.startswith(mark)), None)
        with self._open() as raw:
            if self._first.startswith(ZSTD):  # by Polars: the standard library can only from Python 3.14 on
                yield BytesIO(self._unpacked(raw.read()))
            elif opener is None:
                yield raw
            else:
                with self._undamaged(), opener(raw, "rb") as handle:
                    yield handle

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        """Convert errors of decompression to one line."""
        try:
            yield
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise MeritError(f"{self.name}: is compressed, and damaged or cut short; get the file again") from error

    def _unpacked(self, packed: bytes) -> bytes:
        try:
            return "".join(f"{line}\n" for line in pl.read_lines(packed).to_series()).encode()
        except pl.exceptions.ComputeError as error:
            raise MeritError(
                f"{self.name}: is compressed by zstd and not in UTF-8; compress it by gzip, or write it in UTF-8"
            ) from error

    @cached_property
    def encoding(self) -> str:
        """The encoding that the byte order mark indicates, or else the declared one."""
        with self.opened() as handle:
            first = handle.read(4)
        declared = codecs.lookup(self.dialect.encoding).name
        return next((name for mark, name in _MARKS if first.startswith(mark)), declared)

    @cached_property
    def is_plain(self) -> bool:
        """Whether Polars can read the file directly: in UTF-8, and uncompressed or compressed in a way it knows.

        Raises:
            MeritError: it is another kind of file.
        """
        if kind := next((kind for mark, kind in _OTHERS.items() if self._first.startswith(mark)), None):
            raise MeritError(f"{self.name}: is {kind}")
        is_utf8 = self.encoding in {"utf-8", "utf-8-sig"}
        with self.opened() as handle:
            if is_utf8 and b"\0" in handle.read(HEAD):
                raise self._no_text()
        return is_utf8 and not self._first.startswith((b"BZh", b"\xfd7zXZ", ZLIB))

    def _no_text(self) -> MeritError:
        return MeritError(
            f"{self.name}: holds zero bytes: no text, or UTF-16 without a byte order mark; if it is that, say "
            "encoding: utf-16-le"
        )

    def recoded(self) -> Iterator[bytes]:
        """Yield the content in UTF-8, block by block.

        Raises:
            MeritError: the text is not in the declared encoding.
        """
        decoder, doubt = codecs.getincrementaldecoder(self.encoding)(), _Doubt(self.encoding)
        if self._first.startswith(ZLIB):
            yield codecs.BOM_UTF8
        try:
            with self.opened() as handle:
                while block := handle.read(BLOCK):
                    doubt.look(block)
                    text = decoder.decode(block)
                    if "\0" in text:
                        raise self._no_text()
                    yield text.encode()
            # A tool unaware of UTF-16 may append a single-byte line end, which is half a character: accept it.
            yield decoder.decode(b"", final=bool(bytes(decoder.getstate()[0]).strip(b"\r\n\0"))).encode()
        except UnicodeError as error:
            raise MeritError(
                f"{self.name}: its text is not in {self.encoding}; say which it is by the source's encoding, such as "
                "windows-1252"
            ) from error
        if doubt.holds():
            raise MeritError(
                f"{self.name}: is declared to be in {self.encoding}, but its text is UTF-8; correct the encoding, or "
                "the file"
            )

    @cached_property
    def leading(self) -> int:
        """The number of lines before the header.

        Raises:
            MeritError: no line follows them.
        """
        skipped, comment = self.dialect.skip_rows, self.dialect.comment
        if not skipped and comment is None:
            return 0
        for count, line in enumerate(self._lines()):
            if count >= skipped and line.strip("\r\n") and not (comment and line.startswith(comment)):
                return count
        raise MeritError(f"{self.name}: has no header after the lines that are left out before it")

    def header(self, dialect: Dialect | None = None) -> list[str]:
        """Return the column names, read in another dialect if one is given."""
        file = TextFile(self.name, dialect, self.source) if dialect else self
        lines = file._lines()
        for _ in range(file.leading):
            next(lines)
        rows = csv.reader((line for line in lines if line.strip("\r\n")), delimiter=file.dialect.separator)
        try:
            return next(rows, [])
        except csv.Error:
            return []

    def _lines(self) -> Iterator[str]:
        with self.opened() as handle:
            reader = codecs.getreader(self.encoding)(handle, "replace")
            yield from iter(lambda: reader.readline(LONGEST), "")

    def table(self) -> pl.DataFrame:
        """Return the table with every field as text, and empty fields as missing.

        Raises:
            MeritError: the kind, the encoding or the number of fields in a line is wrong.
            polars.exceptions.PolarsError: Polars can't parse its lines.
        """
        from merit.reading import lines

        if not self.is_plain:
            recoded = replace(self.dialect, encoding="utf-8")
            return TextFile(self.name, recoded, b"".join(self.recoded())).table()
        lines.check(self)
        return self._table()

    def _table(self) -> pl.DataFrame:
        assert not callable(self.source)
        return pl.read_csv(
            self.source,
            separator=self.dialect.separator,
            infer_schema=False,
            null_values=[""],
            skip_lines=self.leading,
            with_column_names=lambda names: [unquoted(name) for name in names],
        )


def unquoted(name: str) -> str:
    """Return a header's name with doubled quotes undone: Polars leaves them doubled."""
    return name.replace('""', '"')


class _Doubt:
    """Detects UTF-8 in text that is declared to have a legacy encoding: a valid match is hardly ever by chance."""

    def __init__(self, encoding: str) -> None:
        self._decoder = None if encoding.startswith("utf") else codecs.getincrementaldecoder("utf-8")()
        self._is_ascii = True

    def look(self, block: bytes) -> None:
        """Add a block."""
        if self._decoder is None:
            return
        try:
            self._decoder.decode(block)
            self._is_ascii = self._is_ascii and block.isascii()
        except UnicodeError:
            self._decoder = None

    def holds(self) -> bool:
        """Return whether all blocks were UTF-8 and not only ASCII, which is the same in every encoding."""
        return self._decoder is not None and not self._is_ascii


def encoded(table: pl.DataFrame, dialect: Dialect) -> bytes:
    """Return a table of text as the bytes of a file in a dialect, with placeholder lines before the header."""
    lines = "-\n" * dialect.skip_rows + (f"{dialect.comment}\n" if dialect.comment else "")
    return (lines + table.write_csv(separator=dialect.separator)).encode(dialect.encoding)
