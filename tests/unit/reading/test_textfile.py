import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import cramjam
import polars as pl
import pytest

from merit.errors import MeritError
from merit.reading.dialect import Dialect
from merit.reading.text_table import read_text_table
from merit.reading.textfile import TextFile

TEXT = 'name,n\nZürich,1\n"a ""b"", c",2\n'
ROWS = [("Zürich", "1"), ('a "b", c', "2")]


def _read(content: bytes, dialect: Dialect | None = None) -> pl.DataFrame:
    Path("a.csv").write_bytes(content)
    return read_text_table(TextFile("a.csv", dialect))


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), TEXT.encode("utf-32"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), gzip.compress(TEXT.encode()), bz2.compress(TEXT.encode()),
        lzma.compress(TEXT.encode()), bytes(cramjam.zstd.compress(TEXT.encode())), gzip.compress(TEXT.encode("utf-16")),
        TEXT.replace("\n", "\r\n").encode(), b"\n\n" + TEXT.encode(), TEXT.strip().encode("utf-16") + b"\n",
    ],
    ids=["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be", "gzip", "bz2", "xz", "zstd", "gzip of utf-16", "crlf",
         "empty lines first", "utf-16 and a byte"],
)  # fmt: skip
def test_a_file_is_read_whatever_it_is_compressed_and_encoded_by(workdir: Path, content: bytes) -> None:
    assert _read(content).rows() == ROWS


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "utf-16-le", "cp850"])
def test_an_encoding_that_no_mark_names_is_declared(workdir: Path, encoding: str) -> None:
    assert _read(TEXT.encode(encoding), Dialect(encoding=encoding)).rows() == ROWS


def test_text_in_another_encoding_than_the_declared_one_is_refused(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"a\.csv: its text is not in utf-8; say which it is by the source's encoding"):
        _read(TEXT.encode("latin-1"))
    with pytest.raises(MeritError, match="is declared to be in cp1252, but its text is UTF-8"):
        _read(TEXT.encode(), Dialect(encoding="windows-1252"))
    assert _read(b"a\n1\n", Dialect(encoding="windows-1252")).rows() == [("1",)]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1....", "a Parquet file; read it by merit.data.sources.Parquet"),
        (b"PK\x03\x04...", "a ZIP archive or an Excel"),
        (b"SQLite format 3\0", "a SQLite database"),
        (TEXT.encode("utf-16-le"), "zero bytes: no text, or UTF-16 without a byte order mark"),
        (bytes(cramjam.zstd.compress(TEXT.encode("utf-16"))), "compressed by zstd"),
    ],
    ids=["parquet", "zip", "sqlite", "utf-16 without a mark", "zstd of utf-16"],
)
def test_a_file_of_another_kind_is_told_as_what_it_is(workdir: Path, content: bytes, what: str) -> None:
    with pytest.raises(MeritError, match=r"^a\.csv: (is|holds) ") as caught:
        _read(content)
    assert what in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("cut", [slice(0, -9), slice(0, 40)])
def test_compressed_text_that_is_cut_short_is_told(workdir: Path, pack: Callable[[bytes], bytes], cut: slice) -> None:
    with pytest.raises(MeritError, match=r"^a\.csv: is compressed, and damaged or cut short"):
        _read(pack(TEXT.encode("utf-16") * 50)[cut])


def test_quotes_in_a_header_are_those_of_the_name(workdir: Path) -> None:
    assert _read(b'x,"Loan ""Status"" (Y/N)?"\n1,Y\n').columns == ["x", 'Loan "Status" (Y/N)?']


def test_lines_before_the_header_are_left_out_and_none_after_it(workdir: Path) -> None:
    text = b"# exported\n# unit: mg\na,b\n1,2\n#3,4\n"
    assert _read(text, Dialect(comment="#")).rows() == [("1", "2"), ("#3", "4")]
    assert _read(b"\n" + text, Dialect(comment="#")).rows() == [("1", "2"), ("#3", "4")]
    assert _read(text, Dialect(skip_rows=2)).rows() == [("1", "2"), ("#3", "4")]
    assert _read(text.decode().encode("utf-16"), Dialect(comment="#")).columns == ["a", "b"]
    with pytest.raises(MeritError, match="has no header after the lines"):
        _read(b"# only\n", Dialect(comment="#"))


def test_an_empty_field_is_missing_in_quotes_or_not_and_blanks_are_text(workdir: Path) -> None:
    assert _read(b'a,b\n"",1\n,2\n" ",3\n').rows() == [(None, "1"), (None, "2"), (" ", "3")]


@pytest.mark.parametrize(
    ("dialect", "words"),
    [({"separator": ""}, "separator"), ({"separator": ";;"}, "separator"), ({"separator": '"'}, "separator"),
     ({"encoding": "utf-9"}, "encoding: found 'utf-9'; allowed"), ({"encoding": "hex"}, "encoding: found 'hex'"),
     ({"skip_rows": -1}, "skip_rows"), ({"comment": ""}, "comment")],
)  # fmt: skip
def test_a_dialect_that_can_not_be_is_refused(dialect: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dialect(**dialect)  # type: ignore[arg-type]


def test_a_header_that_begins_as_compressed_content_does_is_text(workdir: Path) -> None:
    assert _read(b"x^2,x\n4,2\n").to_dicts() == [{"x^2": "4", "x": "2"}]
