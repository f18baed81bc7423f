"""The test rows in the format of the source: what a client would send, before ingest converted anything.

Ingest records each row's position in the source's table. The gate reads the source again, selects the test rows, and
converts them by the package's signature alone, as `merit predict` and the endpoint do.
"""

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from merit import artifacts
from merit.config import targets
from merit.config.schema.data import Data
from merit.data.source_table import read_source
from merit.data.split import PARTS
from merit.errors import MeritError, Refused
from merit.gate.checks.data.table import Table
from merit.reading import advice, cells
from merit.reading.declaration import declared
from merit.reading.dialect import Dialect
from merit.scoring.package import Package


@dataclass(frozen=True)
class Rows:
    """Rows to replay, and their origin.

    Attributes:
        table: the rows as the source returns them; as ingested if the source's rows are no longer available.
        dialect: the layout of the source's text file; None for other sources.
        note: why the rows are not the source's own; empty if they are.
    """

    table: pl.DataFrame
    dialect: Dialect | None = None
    note: str = ""


class SourceRows:
    """Provides the test rows as the source has them; reads the source once, on first use. Thread-safe.

    Args:
        data: the settings of conf/data.
        tested: the test rows as ingested.
    """

    def __init__(self, data: Data, tested: pl.DataFrame) -> None:
        self._data, self._tested = data, tested
        self._lock = threading.Lock()
        self._rows: Rows | MeritError | None = None

    def rows(self) -> Rows:
        """Return the test rows.

        Raises:
            MeritError: the source can't be read or has changed, or the positions of the test rows in it are unknown.
        """
        with self._lock:
            if self._rows is None:
                try:
                    self._rows = self._read()
                except MeritError as error:
                    self._rows = error
        if isinstance(self._rows, MeritError):
            raise self._rows
        return self._rows

    def _read(self) -> Rows:
        """Read the test rows from the source; if a source other than files is gone, return them as ingested."""
        try:
            source, table = read_source(self._data)
        except MeritError:
            # A database keeps changing: past rows that were hashed but not stored can't be read again, and no change
            # of the pull request could fix that. Files are kept by Git or DVC, so there a failure is an error.
            if hasattr(targets.build(self._data.source.model_dump(by_alias=True)), "files"):
                raise
            return Rows(self._tested, note="as ingested: the source has other rows by now, or can't be reached")
        places = self.places()
        if len(places) and int(places.max()) >= table.height:  # type: ignore[arg-type]  # whole numbers
            raise _misplaced()
        return Rows(table[places], getattr(source, "dialect", None))

    def places(self) -> pl.Series:
        """Return the positions of the test rows in the source's table."""
        of_raw = artifacts.read_table(artifacts.SOURCE_ROWS, "ingest")
        raw = Table.scan(artifacts.require(artifacts.RAW, "ingest"), self._data, str(artifacts.RAW))
        made_for = pl.read_parquet_metadata(artifacts.SOURCE_ROWS).get("raw")
        if of_raw.height != raw.height or made_for != artifacts.sha256(artifacts.RAW):
            raise _misplaced()
        rows = of_raw["row"].filter(raw.place == PARTS.index("test"))
        if len(rows) != self._tested.height:
            raise MeritError(f"{artifacts.TEST_ROWS}: not the test rows of {artifacts.RAW}; run 'merit features' again")
        return rows


def _misplaced() -> MeritError:
    return MeritError(f"{artifacts.SOURCE_ROWS}: not of the rows of {artifacts.RAW}; run 'merit ingest' again")


def typed(table: pl.DataFrame, package: Package) -> pl.DataFrame:
    """Return the columns that a package takes, converted to the types of its signature.

    Raises:
        Refused: a column is missing, or can't be converted.
    """
    columns = []
    for each in package.inputs:
        column = declared(each["name"], each)
        if column.name not in table.columns:
            raise Refused(f"the source has no column '{column.name}', which the package takes")
        raw = table[column.name]
        if wrong := cells.mismatch(raw.dtype, column):
            raise Refused(f"column '{column.name}': {wrong}")
        reading = cells.read(raw, column)
        if reading.unread is not None:
            raise Refused(f"column '{column.name}': {advice.describe(raw, reading.unread, column)}")
        columns.append(reading.values)
    return pl.DataFrame(columns)


def as_json(table: pl.DataFrame, package: Package) -> list[dict[str, Any]]:
    """Return rows as a client sends them in JSON: text and times as the source spells them, the rest as values."""
    values = typed(table, package)
    as_written = [
        each["name"]
        for each in package.inputs
        if each["type"] in {"string", "datetime"} and table.schema[each["name"]] == pl.String
    ]
    rows = values.with_columns(table.select(as_written)).to_dicts()
    return [{name: _written(value) for name, value in row.items()} for row in rows]


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
