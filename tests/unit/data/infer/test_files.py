import gzip
import zipfile
from pathlib import Path

import polars as pl
import pytest

from merit.data.infer.files import is_parquet, refuse_folder
from merit.errors import MeritError

TABLE = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def _write(content: bytes) -> Path:
    place = Path("table.bin")
    place.write_bytes(content)
    return place


def test_parquet_is_known_by_its_content_and_so_is_text(workdir: Path) -> None:
    TABLE.write_parquet("table.csv")
    assert is_parquet(Path("table.csv"))
    assert not is_parquet(_write(b"a,b\n1,2\n"))
    assert not is_parquet(_write(gzip.compress(b"a,b\n1,2\n")))
    assert not is_parquet(_write(b"[a],b\n1,2\n"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "table.bin: is empty; it needs a line of column names, and rows"),
        (b"SQLite format 3\0", "table.bin: is a SQLite database; give sqlite:///table.bin with --table or --query"),
        (b"PK\x03\x04broken", "is a ZIP archive that is broken"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook; save the sheet as CSV"),
        (b"\x89PNG\r\n\x1a\n", "is an image (PNG); merit reads tables: write a Parquet file with a row per image"),
        (b"ARROW1\0\0", "is an Arrow file; make Parquet of it: python -c"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\x80\x04\x95ab", "is a pickle, which can run code and is not opened"),
        (b'{"a": 1}\n{"a": 2}\n', "is JSON, an object a line; make Parquet of it: python -c"),
        (b'[\n {"a": 1}]', "is JSON; make Parquet of it: python -c"),
        (b'{\n "a": [1, 2]}', "is JSON; make Parquet"),
        (gzip.compress(b'{"a": 1}\n', mtime=0), "is JSON, an object a line"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "is XML or HTML; write its table as CSV or Parquet"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_said_to_be_one_with_what_to_do(workdir: Path, content: bytes, says: str) -> None:
    with pytest.raises(MeritError) as caught:
        is_parquet(_write(content))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["xl/workbook.xml", "x"], "is an Excel workbook; save the sheet as CSV"),
        (["content.xml"], "is an OpenDocument sheet"),
        (["a.csv"], "is a ZIP archive, with 'a.csv' in it; unpack it"),
        (["a.csv", "b.csv"], "is a ZIP archive of 2 files; unpack it"),
    ],
)
def test_what_is_in_a_zip_archive_is_told(workdir: Path, names: list[str], says: str) -> None:
    with zipfile.ZipFile("table.bin", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(MeritError, match=says):
        is_parquet(Path("table.bin"))


def test_the_advice_on_json_makes_a_table_that_is_read(workdir: Path) -> None:
    _write(b'{"a": 1}\n{"a": 2}\n')
    with pytest.raises(MeritError) as caught:
        is_parquet(Path("table.bin"))
    code = str(caught.value).partition('python -c "')[2].rstrip('"').replace("FILE", "table.bin")
    exec(compile(code, "advice", "exec"), {})  # noqa: S102  # what a person would run
    assert is_parquet(Path("table.bin.parquet"))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["a.png", "b.JPG", "label.csv"],
            "pictures: is a folder of 2 images; merit reads tables: write a Parquet file",
        ),
        (
            ["a.csv", "b.csv"],
            "pictures: is a folder (2 .csv), and merit reads one table: name a CSV or Parquet file in it",
        ),
        ([], "is a folder (nothing)"),
    ],
)
def test_a_folder_is_refused_by_what_it_holds(workdir: Path, names: list[str], says: str) -> None:
    Path("pictures").mkdir()
    for name in names:
        Path("pictures", name).touch()
    with pytest.raises(MeritError) as caught:
        refuse_folder(Path("pictures"))
    assert says in str(caught.value)
