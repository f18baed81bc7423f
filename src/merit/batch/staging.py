"""Rows that can't be asked for twice, put into files first: a query's, for a database gives them in any order."""

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
    """A query, and the variable of the environment that holds the URL of its database."""

    sql: str
    variable: str
    name: str = "sql"

    def identity(self) -> dict[str, Any]:
        """Return what names the rows that are meant: query and database, without who asks."""
        place = masked(self._url().split("?")[0])
        digest = hashlib.sha256(f"{place}\n{self.sql}".encode()).hexdigest()
        return {"query": masked(" ".join(self.sql.split())), "files": {"--query": digest}}

    def chunks(self, size: int) -> Iterator[pl.DataFrame]:
        """Give the rows as the database sends them; it is held to one SELECT.

        Raises:
            MeritError: it can't be reached, or doesn't answer the query.
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
    """Return the rows as Parquet files of a chunk each, written now unless a run before this one wrote them all.

    Raises:
        MeritError: they can't be read or written.
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
    """Turn what a driver gives as objects of its own, such as UUIDs, into text, and decimals into numbers."""
    odd = [name for name, dtype in rows.schema.items() if dtype == pl.Object]
    made = [pl.Series(name, [None if v is None else str(v) for v in rows[name]], dtype=pl.String) for name in odd]
    return rows.with_columns(made).with_columns(pl.col(pl.Decimal).cast(pl.Float64))


def _alike(folder: Path) -> None:
    """Give all files the same types: a column that is empty in one chunk and full in another has two."""
    paths = sorted(folder.glob("rows-*.parquet"))
    schemas = [pl.read_parquet_schema(path) for path in paths]
    if all(schema == schemas[0] for schema in schemas):
        return
    whole = pl.concat([pl.scan_parquet(path) for path in paths], how="diagonal_relaxed").collect_schema()
    for path, schema in zip(paths, schemas, strict=True):
        if schema != whole:
            artifacts.write_table(path, pl.read_parquet(path).cast(whole))
