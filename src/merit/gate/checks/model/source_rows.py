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
from merit.config.components import targets
from merit.config.schema.data import Data
from merit.data.source_table import read_source
from merit.data.split import PARTS
from merit.errors import MeritError, Refused
from merit.gate.checks.data.dataset import Dataset
from merit.reading import cell_advice, column_cells
from merit.reading.declaration import build_declaration
from merit.reading.dialect import Dialect
from merit.scoring.package import Package


@dataclass(frozen=True)
class ReplayRows:
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
        test_rows: the test rows as ingested.
    """

    def __init__(self, data: Data, test_rows: pl.DataFrame) -> None:
        self._data, self._test_rows = data, test_rows
        self._lock = threading.Lock()
        self._rows: ReplayRows | MeritError | None = None

    def get_rows(self) -> ReplayRows:
        """Return the test rows.

        Raises:
            MeritError: the source can't be read or has changed, or the positions of the test rows in it are unknown.
        """
        with self._lock:
            if self._rows is None:
                try:
                    self._rows = self._read_rows()
                except MeritError as error:
                    self._rows = error
        if isinstance(self._rows, MeritError):
            raise self._rows
        return self._rows

    def _read_rows(self) -> ReplayRows:
        """Read the test rows from the source; if a source other than files is gone, return them as ingested."""
        try:
            source, table = read_source(self._data)
        except MeritError:
            # A database keeps changing: past rows that were hashed but not stored can't be read again, and no change
            # of the pull request could fix that. Files are kept by Git or DVC, so there a failure is an error.
            if hasattr(targets.build_component(self._data.source.model_dump(by_alias=True)), "files"):
                raise
            return ReplayRows(
                self._test_rows, note="as ingested: the source has other rows by now, or can't be reached"
            )
        positions = self.find_positions()
        if len(positions) and int(positions.max()) >= table.height:  # type: ignore[arg-type]  # whole numbers
            raise _build_position_error()
        return ReplayRows(table[positions], getattr(source, "dialect", None))

    def find_positions(self) -> pl.Series:
        """Return the positions of the test rows in the source's table."""
        source_rows = artifacts.read_table(artifacts.SOURCE_ROWS, "ingest")
        raw = Dataset.scan(artifacts.require_path(artifacts.RAW, "ingest"), self._data, str(artifacts.RAW))
        raw_hash = pl.read_parquet_metadata(artifacts.SOURCE_ROWS).get("raw")
        if source_rows.height != raw.height or raw_hash != artifacts.hash_file(artifacts.RAW):
            raise _build_position_error()
        rows = source_rows["row"].filter(raw.part_index == PARTS.index("test"))
        if len(rows) != self._test_rows.height:
            raise MeritError(f"{artifacts.TEST_ROWS}: not the test rows of {artifacts.RAW}; run 'merit features' again")
        return rows


def _build_position_error() -> MeritError:
    return MeritError(f"{artifacts.SOURCE_ROWS}: not of the rows of {artifacts.RAW}; run 'merit ingest' again")


def convert_columns(table: pl.DataFrame, package: Package) -> pl.DataFrame:
    """Return the columns that a package takes, converted to the types of its signature.

    Raises:
        Refused: a column is missing, or can't be converted.
    """
    columns = []
    for each in package.inputs:
        column = build_declaration(each["name"], each)
        if column.name not in table.columns:
            raise Refused(f"the source has no column '{column.name}', which the package takes")
        raw = table[column.name]
        if problem := column_cells.find_mismatch(raw.dtype, column):
            raise Refused(f"column '{column.name}': {problem}")
        reading = column_cells.read_column(raw, column)
        if reading.unread is not None:
            raise Refused(f"column '{column.name}': {cell_advice.describe_unread(raw, reading.unread, column)}")
        columns.append(reading.values)
    return pl.DataFrame(columns)


def to_json_rows(table: pl.DataFrame, package: Package) -> list[dict[str, Any]]:
    """Return rows as a client sends them in JSON: text and times as the source spells them, the rest as values."""
    values = convert_columns(table, package)
    text_columns = [
        each["name"]
        for each in package.inputs
        if each["type"] in {"string", "datetime"} and table.schema[each["name"]] == pl.String
    ]
    rows = values.with_columns(table.select(text_columns)).to_dicts()
    return [{name: _to_json_value(value) for name, value in row.items()} for row in rows]


def _to_json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
