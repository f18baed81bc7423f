"""A version of the data as the checks read it: lazily, so that no more of it is in memory than a check needs.

Rows are compared by hashes of 64 bits: two of ten million different rows share one with a chance of 1 in 300,000.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from merit import artifacts
from merit.config.schema.data import Data
from merit.data.split import PARTS, needed, places
from merit.errors import MeritError


@dataclass(frozen=True)
class Table:
    """The rows of a version of the data, and what conf/data said of them.

    Attributes:
        rows: read anew by each who asks, only the columns that are asked for.
        schema: the columns that are there, and their types.
        height: how many rows.
        data: conf/data of that version.
        name: what messages call it.
        repeated: how many rows repeat another one in all that the source says of it; None if that was not noted.
    """

    rows: pl.LazyFrame
    schema: pl.Schema
    height: int
    data: Data
    name: str
    repeated: int | None = None

    @classmethod
    def scan(cls, path: Path, data: Data, name: str) -> Self:
        """Open a Parquet file.

        Raises:
            MeritError: it is none, has no rows, or lacks the target or a column that says how rows are split.
        """
        if fault := artifacts.parquet_fault(path):
            remedy = "; 'merit ingest' makes it anew" if path == artifacts.RAW else ""
            raise MeritError(f"{name}: {fault}{remedy}")
        rows = pl.scan_parquet(path)
        try:
            schema = rows.collect_schema()
            height = int(rows.select(pl.len()).collect().item())
            noted = pl.read_parquet_metadata(path).get(artifacts.REPEATED, "")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise MeritError(f"{name}: can't be read as Parquet ({' '.join(str(error).split())[:200]})") from error
        if height == 0:
            raise MeritError(f"{name}: has no rows")
        if lacking := sorted({data.target.name, *needed(data)} - set(schema)):
            raise MeritError(f"{name}: lacks the column {', '.join(lacking)}")
        return cls(rows, schema, height, data, name, int(noted) if noted.isdecimal() else None)

    @property
    def features(self) -> list[str]:
        """The columns that the model sees and that are there."""
        return [name for name, column in self.data.columns.items() if column.feature != "none" and name in self.schema]

    def collect(self, *wanted: str | pl.Expr) -> pl.DataFrame:
        """Return columns of all rows, or what expressions make of them.

        Raises:
            MeritError: the file is cut off, or otherwise not what its head says.
        """
        try:
            return self.rows.select(*wanted).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise MeritError(f"{self.name}: can't be read ({' '.join(str(error).split())[:200]})") from error

    def hashed(self, columns: Mapping[str, Sequence[str]], *others: str) -> pl.DataFrame:
        """Return for each name the hash of those columns together, uint64 [rows], with other columns as they are."""
        hashes = [pl.struct(names).hash().alias(name) for name, names in columns.items()]
        return self.collect(*hashes, *others)

    @cached_property
    def place(self) -> pl.Series:
        """The place of each row's part in `merit.data.split.PARTS`, -1 for none; int8 [rows]."""
        return places(self.collect(*needed(self.data)), self.data)

    def sample(self, part: str, count: int, seed: int) -> pl.DataFrame:
        """Return at most `count` rows of a part, drawn by lot, in the order of the lot."""
        members = np.flatnonzero(self.place.to_numpy() == PARTS.index(part))
        drawn = np.random.default_rng(seed).permutation(members)[:count]
        wanted = pl.DataFrame({"/row": drawn.astype(np.uint32), "/turn": np.arange(len(drawn), dtype=np.uint32)})
        columns = [*self.features, self.data.target.name]
        chosen = self.rows.select(columns).with_row_index("/row").join(wanted.lazy(), on="/row")
        return chosen.sort("/turn").select(columns).collect(engine="streaming")
