from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from merit.data.sources import Csv, Parquet
from merit.errors import MeritError


def test_a_csv_file_is_read_with_its_dates_and_missing_values(workdir: Path) -> None:
    Path("a.csv").write_text("day,at,n,x,s\n2024-01-02,2024-01-02T03:04:05,1,1.5,a\n,,,NA,\n")
    source = Csv("a.csv", null_values=["NA"])
    assert source.files() == [Path("a.csv")]
    assert source.read().rows() == [
        (date(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5), 1, 1.5, "a"),
        (None, None, None, None, None),
    ]


def test_a_csv_file_can_have_another_separator(workdir: Path) -> None:
    Path("a.csv").write_text("a;b\n1;2\n")
    assert Csv("a.csv", separator=";").read().rows() == [(1, 2)]


def test_the_type_of_a_csv_column_is_that_of_all_its_rows(workdir: Path) -> None:
    Path("a.csv").write_text("a\n" + "1\n" * 2000 + "1.5\n")
    assert Csv("a.csv").read().schema == {"a": pl.Float64}


def test_a_parquet_file_is_read_as_it_is(workdir: Path, table: pl.DataFrame) -> None:
    table.write_parquet("a.parquet")
    source = Parquet("a.parquet")
    assert source.files() == [Path("a.parquet")]
    assert source.read().equals(table)


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.csv", "a/../../b.csv", "~/a.csv", "~root/a.csv"])
@pytest.mark.parametrize("source", [Csv, Parquet])
def test_a_path_outside_the_project_is_refused(source: type[Csv] | type[Parquet], path: str) -> None:
    with pytest.raises(MeritError, match=r"data\.source\.path: found path .*; allowed: a path inside the project"):
        source(path)


def test_a_csv_column_whose_first_rows_are_empty_has_the_type_of_the_others(workdir: Path) -> None:
    Path("a.csv").write_text("a,b\n" + ",1\n" * 12_000 + "1.5,2\n")
    assert Csv("a.csv").read().schema == {"a": pl.Float64, "b": pl.Int64}


def test_a_csv_column_that_holds_a_word_far_down_is_text(workdir: Path) -> None:
    Path("a.csv").write_text("a\n" + "2024-01-02\n" * 12_000 + "soon\n")
    assert Csv("a.csv").read().schema == {"a": pl.String}


def test_text_in_a_parquet_file_is_a_time_only_if_every_value_is(workdir: Path) -> None:
    days = ["2024-01-02", None, "2024-01-03"]
    made = {"day": days, "not": [*days[:2], "soon"], "at": ["2024-01-02T03:04:05", None, "2024-01-02T03:04:06"]}
    pl.DataFrame(made).write_parquet("a.parquet")
    assert Parquet("a.parquet").read().schema == {"day": pl.Date, "not": pl.String, "at": pl.Datetime("us")}
