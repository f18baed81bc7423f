import bz2
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit.errors import MeritError, Refused
from tests.unit.batch.conftest import Run, scored

Dialected = Callable[..., None]
SHORT = "shop,kind,size,weight\nsüd,1,,0.5\n"


@pytest.fixture
def expected(run: Run, rows: pl.DataFrame) -> list[float]:
    """The answers to the rows, asked as Parquet."""
    rows.write_parquet("all.parquet")
    run("all.parquet", "expected")
    return scored("expected")["prediction"].to_list()


def test_a_file_is_read_as_the_training_file_was(
    run: Run, rows: pl.DataFrame, expected: list[float], dialected: Dialected
) -> None:
    rows = rows.with_columns(pl.col("size", "weight").cast(pl.String).str.replace(".", ",", literal=True))
    dialected(
        {"separator": ";", "encoding": "utf-16-le", "comment": "#"}, size={"decimal": ","}, weight={"decimal": ","}
    )
    text = f"# exported\n{rows.fill_null('').write_csv(separator=';')}"
    Path("in.csv").write_bytes(bz2.compress(text.encode("utf-16-le")))
    run("in.csv", chunk_rows=50)
    assert scored()["prediction"].to_list() == expected
    assert scored()["size"].to_list() == rows["size"].to_list()


def test_several_files_each_have_lines_before_the_header(
    run: Run, rows: pl.DataFrame, expected: list[float], dialected: Dialected
) -> None:
    dialected({"separator": ",", "comment": "#"})
    Path("a.csv").write_text(f"# one\n# two\n{rows[:100].write_csv()}")
    Path("b.csv").write_text(rows[100:].write_csv())
    run("*.csv")
    assert scored()["prediction"].to_list() == expected


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_file_that_is_separated_otherwise_is_read_by_its_header_and_told(
    run: Run, rows: pl.DataFrame, expected: list[float], separator: str
) -> None:
    said: list[str] = []
    Path("in.csv").write_text(rows.write_csv(separator=separator))
    run("in.csv", show_line=said.append)
    assert scored()["prediction"].to_list() == expected
    assert said == [
        f"in.csv: its fields are separated by {separator!r}, those of the training file by ',': read by its header"
    ]


def test_a_file_that_lacks_the_lines_before_the_header_is_read_by_its_header_and_told(
    run: Run, rows: pl.DataFrame, expected: list[float], dialected: Dialected
) -> None:
    said: list[str] = []
    dialected({"separator": ",", "skip_rows": 2})
    rows.write_csv("in.csv")
    run("in.csv", show_line=said.append)
    assert scored()["prediction"].to_list() == expected
    assert said == ["in.csv: it begins with its header, and the training file with other lines: read by its header"]


def test_where_numbers_are_written_in_a_way_of_their_own_another_separator_is_refused(
    run: Run, rows: pl.DataFrame, dialected: Dialected
) -> None:
    dialected({"separator": ";"}, weight={"decimal": ",", "thousands": "."})
    rows.write_csv("in.csv")
    with pytest.raises(
        Refused, match=r"^in\.csv: its fields are separated by ',', those of the training file by ';'; num"
    ):
        run("in.csv")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("csv", "content", "words"),
    [
        ({"separator": ","}, SHORT.encode("latin-1"), "its text is not in utf-8"),
        ({"separator": ",", "encoding": "latin-1"}, SHORT.encode(), "but its text is UTF-8"),
        ({"separator": ","}, b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    ],
)
def test_another_encoding_or_kind_than_that_of_training_is_refused(
    run: Run, dialected: Dialected, csv: dict[str, Any], content: bytes, words: str
) -> None:
    dialected(csv)
    Path("in.csv").write_bytes(content)
    with pytest.raises(MeritError, match=words):
        run("in.csv")
    assert not Path("out").exists()


def test_a_file_of_any_name_is_taken_by_its_content(run: Run, rows: pl.DataFrame, expected: list[float]) -> None:
    rows.write_csv("orders.dat")
    rows.write_parquet("orders.data")
    for name, place in (("orders.dat", "of-text"), ("orders.data", "of-parquet")):
        run(name, place)
        assert scored(place)["prediction"].to_list() == expected
