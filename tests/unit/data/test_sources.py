from pathlib import Path

import polars as pl
import pytest

from merit.data.sources import Csv, Parquet
from merit.errors import MeritError


def test_every_field_of_a_csv_file_is_text_and_an_empty_one_is_missing(workdir: Path) -> None:
    Path("a.csv").write_text('zip,day,n\n01001,2024-01-02,1.50\n"",,NA\n')
    source = Csv("a.csv", null_values=["NA"])
    assert source.files() == [Path("a.csv")]
    assert source.read().rows() == [("01001", "2024-01-02", "1.50"), (None, None, "NA")]


def test_a_csv_file_can_have_another_separator(workdir: Path) -> None:
    Path("a.csv").write_text("a;b\n1;2\n")
    assert Csv("a.csv", separator=";").read().rows() == [("1", "2")]


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
