"""Delimited text files: opened with any supported compression and encoding, with every field read as text."""

import bz2
import codecs
import csv
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from merit.errors import MeritError
from merit.reading.dialect import Dialect

BLOCK_BYTES = 1 << 20
HEAD_BYTES = 1 << 12
MAX_LINE_BYTES = 64 * BLOCK_BYTES
"""The maximum length of a line, in bytes."""
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
ZLIB_LOOKALIKE = b"x^"
"""A possible beginning of text, such as a column x^2, that Polars takes for zlib unless a byte order mark precedes
it."""
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OPENER_BY_MAGIC: dict[bytes, Any] = {GZIP_MAGIC: gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_OTHER_FORMATS = {
    b"PAR1": "a Parquet file; read it by merit.data.sources.Parquet",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"SQLite format 3\0": "a SQLite database; read it by merit.data.sources.Sql",
    b"%PDF": "a PDF; it holds no table that can be read",
    b"ARROW1": "an Arrow file; write it as Parquet",
}


TextSource = Path | bytes | Callable[[], BinaryIO]


class TextFile:
    """A delimited text file in its declared dialect.

    Args:
        name: the file's name in messages; also its path, unless `source` is given.
        dialect: its layout.
        source: its path, its bytes, or a function that opens it.
    """

    def __init__(self, name: str, dialect: Dialect | None = None, source: TextSource | None = None) -> None:
        self.name, self.dialect = name, dialect or Dialect()
        self.source: TextSource = Path(name) if source is None else source

    def _open(self) -> BinaryIO:
        if isinstance(self.source, Path):
            return self.source.open("rb", buffering=BLOCK_BYTES)
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source()

    @cached_property
    def _magic(self) -> bytes:
        with self._open() as handle:
            return handle.read(16)

    @contextmanager
    def open_decompressed(self) -> Iterator[BinaryIO]:
        """Open the file's decompressed content.

        Raises:
            MeritError: it is compressed, and damaged or truncated; or compressed by zstd, and not in UTF-8.
        """
        opener = next((each for mark, each in _OPENER_BY_MAGIC.items() if self._magic.startswith(mark)), None)
        with self._open() as raw:
            if self._magic.startswith(ZSTD_MAGIC):  # by Polars: the standard library can only from Python 3.14 on
                yield BytesIO(self._decompress_zstd(raw.read()))
            elif opener is None:
                yield raw
            else:
                with self._convert_errors(), opener(raw, "rb") as handle:
                    yield handle

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert errors of decompression to one line."""
        try:
            yield
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise MeritError(f"{self.name}: is compressed, and damaged or cut short; get the file again") from error

    def _decompress_zstd(self, compressed: bytes) -> bytes:
        try:
            return "".join(f"{line}\n" for line in pl.read_lines(compressed).to_series()).encode()
        except pl.exceptions.ComputeError as error:
            raise MeritError(
                f"{self.name}: is compressed by zstd and not in UTF-8; compress it by gzip, or write it in UTF-8"
            ) from error

    @cached_property
    def encoding(self) -> str:
        """The encoding that the byte order mark indicates, or else the declared one."""
        with self.open_decompressed() as handle:
            first_bytes = handle.read(4)
        declared = codecs.lookup(self.dialect.encoding).name
        return next((name for mark, name in _BYTE_ORDER_MARKS if first_bytes.startswith(mark)), declared)

    @cached_property
    def is_polars_readable(self) -> bool:
        """Whether Polars can read the file directly: in UTF-8, and uncompressed or compressed in a way it knows.

        Raises:
            MeritError: it is another kind of file.
        """
        if kind := next((kind for mark, kind in _OTHER_FORMATS.items() if self._magic.startswith(mark)), None):
            raise MeritError(f"{self.name}: is {kind}")
        is_utf8 = self.encoding in {"utf-8", "utf-8-sig"}
        with self.open_decompressed() as handle:
            if is_utf8 and b"\0" in handle.read(HEAD_BYTES):
                raise self._make_binary_error()
        return is_utf8 and not self._magic.startswith((b"BZh", b"\xfd7zXZ", ZLIB_LOOKALIKE))

    def _make_binary_error(self) -> MeritError:
        return MeritError(
            f"{self.name}: holds zero bytes: no text, or UTF-16 without a byte order mark; if it is that, say "
            "encoding: utf-16-le"
        )

    def iterate_utf8(self) -> Iterator[bytes]:
        """Yield the content in UTF-8, block by block.

        Raises:
            MeritError: the text is not in the declared encoding.
        """
        decoder, detector = codecs.getincrementaldecoder(self.encoding)(), _Utf8Detector(self.encoding)
        if self._magic.startswith(ZLIB_LOOKALIKE):
            yield codecs.BOM_UTF8
        try:
            with self.open_decompressed() as handle:
                while block := handle.read(BLOCK_BYTES):
                    detector.add_block(block)
                    text = decoder.decode(block)
                    if "\0" in text:
                        raise self._make_binary_error()
                    yield text.encode()
            # A tool unaware of UTF-16 may append a single-byte line end, which is half a character: accept it.
            yield decoder.decode(b"", final=bool(bytes(decoder.getstate()[0]).strip(b"\r\n\0"))).encode()
        except UnicodeError as error:
            raise MeritError(
                f"{self.name}: its text is not in {self.encoding}; say which it is by the source's encoding, such as "
                "windows-1252"
            ) from error
        if detector.is_utf8():
            raise MeritError(
                f"{self.name}: is declared to be in {self.encoding}, but its text is UTF-8; correct the encoding, or "
                "the file"
            )

    @cached_property
    def header_offset(self) -> int:
        """The number of lines before the header.

        Raises:
            MeritError: no line follows them.
        """
        skipped, comment = self.dialect.skip_rows, self.dialect.comment
        if not skipped and comment is None:
            return 0
        for count, line in enumerate(self._iterate_lines()):
            if count >= skipped and line.strip("\r\n") and not (comment and line.startswith(comment)):
                return count
        raise MeritError(f"{self.name}: has no header after the lines that are left out before it")

    def read_header(self, dialect: Dialect | None = None) -> list[str]:
        """Return the column names, read in another dialect if one is given."""
        file = TextFile(self.name, dialect, self.source) if dialect else self
        lines = file._iterate_lines()
        for _ in range(file.header_offset):
            next(lines)
        rows = csv.reader((line for line in lines if line.strip("\r\n")), delimiter=file.dialect.separator)
        try:
            return next(rows, [])
        except csv.Error:
            return []

    def _iterate_lines(self) -> Iterator[str]:
        with self.open_decompressed() as handle:
            reader = codecs.getreader(self.encoding)(handle, "replace")
            yield from iter(lambda: reader.readline(MAX_LINE_BYTES), "")


def unquote_name(name: str) -> str:
    """Return a header's name with doubled quotes undone: Polars leaves them doubled."""
    return name.replace('""', '"')


class _Utf8Detector:
    """Detects UTF-8 in text that is declared to have a legacy encoding: a valid match is hardly ever by chance."""

    def __init__(self, encoding: str) -> None:
        self._decoder = None if encoding.startswith("utf") else codecs.getincrementaldecoder("utf-8")()
        self._is_ascii = True

    def add_block(self, block: bytes) -> None:
        """Add a block."""
        if self._decoder is None:
            return
        try:
            self._decoder.decode(block)
            self._is_ascii = self._is_ascii and block.isascii()
        except UnicodeError:
            self._decoder = None

    def is_utf8(self) -> bool:
        """Return whether all blocks were UTF-8 and not only ASCII, which is the same in every encoding."""
        return self._decoder is not None and not self._is_ascii


def encode_table(table: pl.DataFrame, dialect: Dialect) -> bytes:
    """Return a table of text as the bytes of a file in a dialect, with placeholder lines before the header."""
    lines = "-\n" * dialect.skip_rows + (f"{dialect.comment}\n" if dialect.comment else "")
    return (lines + table.write_csv(separator=dialect.separator)).encode(dialect.encoding)
