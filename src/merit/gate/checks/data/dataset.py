"""One version of the data, read lazily so that a check holds only the columns it needs in memory.

Rows are compared by 64-bit hashes: the chance that any two of ten million different rows share one is 1 in 300,000.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.schema.data import Data
from merit.data.split import PARTS, assign_parts, list_split_columns
from merit.errors import MeritError


@dataclass(frozen=True)
class Dataset:
    """The rows of one version of the data, with the settings that they were ingested by.

    Attributes:
        rows: a lazy frame; every query reads its columns from the file again.
        schema: the columns in the file, and their types.
        height: the number of rows.
        data: the settings of conf/data of that version.
        name: the name for error messages.
        duplicate_rows: rows that duplicate another in every column of the source, as counted by ingest;
            None if not recorded.
    """

    rows: pl.LazyFrame
    schema: pl.Schema
    height: int
    data: Data
    name: str
    duplicate_rows: int | None = None

    @classmethod
    def scan(cls, path: Path, data: Data, name: str) -> Self:
        """Open a Parquet file.

        Raises:
            MeritError: the file is not Parquet, has no rows, or lacks the target or a column that the split needs.
        """
        if problem := artifacts.find_parquet_fault(path):
            remedy = "; run 'merit ingest' again" if path == artifacts.RAW else ""
            raise MeritError(f"{name}: {problem}{remedy}")
        rows = pl.scan_parquet(path)
        try:
            schema = rows.collect_schema()
            height = int(rows.select(pl.len()).collect().item())
            recorded = pl.read_parquet_metadata(path).get(artifacts.DUPLICATES_KEY, "")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise MeritError(f"{name}: can't be read as Parquet ({' '.join(str(error).split())[:200]})") from error
        if height == 0:
            raise MeritError(f"{name}: has no rows")
        if missing := sorted({data.target.name, *list_split_columns(data)} - set(schema)):
            raise MeritError(f"{name}: lacks the column {', '.join(missing)}")
        return cls(rows, schema, height, data, name, int(recorded) if recorded.isdecimal() else None)

    @property
    def feature_columns(self) -> list[str]:
        """The feature columns that the file has."""
        return [name for name, column in self.data.columns.items() if column.feature != "none" and name in self.schema]

    def collect(self, *columns: str | pl.Expr) -> pl.DataFrame:
        """Return columns, or the results of expressions, over all rows.

        Raises:
            MeritError: the file is truncated or corrupt.
        """
        try:
            return self.rows.select(*columns).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise MeritError(f"{self.name}: can't be read ({' '.join(str(error).split())[:200]})") from error

    def hash_columns(self, columns: Mapping[str, Sequence[str]], *others: str) -> pl.DataFrame:
        """Return, per name, a hash over the columns listed for it, uint64 [rows], beside `others` unchanged."""
        hashes = [pl.struct(names).hash().alias(name) for name, names in columns.items()]
        return self.collect(*hashes, *others)

    @cached_property
    def part_index(self) -> pl.Series:
        """The index of each row's part in `merit.data.split.PARTS`, -1 for none; int8 [rows]."""
        return assign_parts(self.collect(*list_split_columns(self.data)), self.data)

    def find_part(self, part: str) -> NDArray[np.bool_]:
        """Return which rows belong to a part."""
        return (self.part_index == PARTS.index(part)).to_numpy()

    def read_times(self) -> pl.Series:
        """Return the time of each row; the data must have a time."""
        return self.collect(self.data.time or "").to_series()

    def sample_rows(self, rows: str | NDArray[np.bool_], count: int, seed: int) -> pl.DataFrame:
        """Return at most `count` random rows of a part, or of marked rows, in the order in which they were drawn."""
        members = np.flatnonzero(self.find_part(rows) if isinstance(rows, str) else rows)
        row_numbers = np.random.default_rng(seed).permutation(members)[:count]
        # The slash keeps the helper columns apart from columns of the data.
        drawn_rows = pl.DataFrame(
            {"/row": row_numbers.astype(np.uint32), "/turn": np.arange(len(row_numbers), dtype=np.uint32)}
        )
        columns = [*self.feature_columns, self.data.target.name]
        selected = self.rows.select(columns).with_row_index("/row").join(drawn_rows.lazy(), on="/row")
        return selected.sort("/turn").select(columns).collect(engine="streaming")
