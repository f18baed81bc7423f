"""Stages rows in Parquet files first if they can't be read twice in the same order, such as those of a query."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit import artifacts, database
from merit.batch.sources import Files, faults, version_of
from merit.console.masking import masked
from merit.errors import MeritError

DONE = "done.json"


@dataclass(frozen=True)
class Query:
    """A database query.

    Attributes:
        sql: one SELECT.
        variable: the environment variable that holds the URL of the database.
        name: the name of the source in messages.
    """

    sql: str
    variable: str
    name: str = "sql"

    def identity(self) -> dict[str, Any]:
        """Return a value that identifies query and database, without credentials."""
        place = masked(self._url().split("?")[0])
        digest = hashlib.sha256(f"{place}\n{self.sql}".encode()).hexdigest()
        return {"query": masked(" ".join(self.sql.split())), "files": {"--query": digest}}

    def chunks(self, size: int) -> Iterator[pl.DataFrame]:
        """Yield tables of `size` rows as the database sends them; only one SELECT is allowed.

        Raises:
            MeritError: the database can't be reached or rejects the query.
        """
        try:
            yield from database.batches(database.url_of(self._url()), self.sql, size)
        except database.DatabaseError as error:
            reason = masked(str(error), (self._url(),))
            query = " ".join(self.sql.split())[:200]
            raise MeritError(f"sql: '{query}' can't be read by {self.variable}: {reason}") from error

    def _url(self) -> str:
        url = os.environ.get(self.variable)
        if not url:
            raise MeritError(
                f"--url-env: {self.variable} is not set; give it the database's URL, as SQLAlchemy writes it"
            )
        return url


def staged(query: Query | Files, folder: Path, size: int) -> Files:
    """Return the rows as Parquet files of one chunk each; files that an earlier run completed are reused.

    Args:
        query: the source.
        folder: the folder of the files.
        size: rows per chunk.

    Raises:
        MeritError: the source can't be read.
    """
    if not (folder / DONE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for number, rows in enumerate(_chunks(query, size)):
            artifacts.write_table(folder / f"rows-{number:08d}.parquet", _plain(rows))
        with faults(query.name):
            _alike(folder)
        artifacts.write_json(folder / DONE, {"form": 1})
    paths = sorted(folder.glob("rows-*.parquet"))
    versions = {str(path): version_of(path) for path in paths}
    return Files(query.name, "parquet", tuple(versions), versions)


def _chunks(source: Query | Files, size: int) -> Iterator[pl.DataFrame]:
    if isinstance(source, Query):
        yield from source.chunks(size)
    else:
        for _, rows in source.chunks(list(source.schema()), size, 0):
            yield rows


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Cast objects of a driver, such as UUIDs, to text, and decimals to floats."""
    odd = [name for name, dtype in rows.schema.items() if dtype == pl.Object]
    made = [pl.Series(name, [None if v is None else str(v) for v in rows[name]], dtype=pl.String) for name in odd]
    return rows.with_columns(made).with_columns(pl.col(pl.Decimal).cast(pl.Float64))


def _alike(folder: Path) -> None:
    """Cast all files to common types: a column gets another type in a chunk where all its values are null."""
    paths = sorted(folder.glob("rows-*.parquet"))
    schemas = [pl.read_parquet_schema(path) for path in paths]
    if all(schema == schemas[0] for schema in schemas):
        return
    whole = pl.concat([pl.scan_parquet(path) for path in paths], how="diagonal_relaxed").collect_schema()
    for path, schema in zip(paths, schemas, strict=True):
        if schema != whole:
            artifacts.write_table(path, pl.read_parquet(path).cast(whole))
