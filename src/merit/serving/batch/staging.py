"""Rows that can't be asked for twice, put into files first: a query's, for a database gives them in any order."""

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from merit import artifacts
from merit.errors import MeritError
from merit.masking import masked
from merit.serving.batch.sources import Files, faults, reason_of, version_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

DONE = "done.json"
HEARD = 100_000
"""Steps of SQLite between two looks whether a signal has come: some milliseconds."""


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
        """Give the rows as the database sends them, in a transaction that can't write.

        Raises:
            MeritError: it can't be reached, or doesn't answer the query.
        """
        with self._faults(), self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=size)
            empty = True
            statement = _statement(self.sql)
            for rows in pl.read_database(
                statement, streamed, iter_batches=True, batch_size=size, infer_schema_length=None
            ):
                empty = False
                yield rows
            if empty:
                yield pl.DataFrame(schema=dict.fromkeys(connection.execute(statement).keys(), pl.Null))

    def _url(self) -> str:
        url = os.environ.get(self.variable)
        if not url:
            raise MeritError(
                f"--url-env: {self.variable} is not set; give it the database's URL, as SQLAlchemy writes it"
            )
        return url

    @contextmanager
    def _connected(self) -> "Iterator[Connection]":
        from sqlalchemy import create_engine, event, make_url
        from sqlalchemy.pool import NullPool

        url = make_url(self._url())
        is_sqlite = url.get_backend_name() == "sqlite"
        if is_sqlite and url.database and not Path(url.database).is_file():
            raise OSError(f"the file '{url.database}' is not there")
        engine = create_engine(url, poolclass=NullPool)
        if is_sqlite:
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))
        with engine.connect() as connection:
            event.listen(connection, "after_cursor_execute", _check_gives_rows)
            if is_sqlite:
                raw: Any = connection.connection.driver_connection
                raw.set_authorizer(_may_only_read)
                raw.set_progress_handler(_go_on, HEARD)
            if url.get_backend_name() == "postgresql":
                connection.execution_options(postgresql_readonly=True)
            yield connection

    @contextmanager
    def _faults(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except ModuleNotFoundError as error:
            raise MeritError(
                f"{self.variable}: the driver '{error.name}' is not installed; PostgreSQL's comes with "
                "'pip install merit-ml[postgres]'"
            ) from error
        except (SQLAlchemyError, pl.exceptions.PolarsError, OSError, ValueError, TypeError) as error:
            if _is_interrupted(error):
                raise KeyboardInterrupt from error
            reason = masked(reason_of(getattr(error, "orig", None) or error), (self._url(),))
            raise MeritError(f"sql: '{self.sql[:200]}' can't be read by {self.variable}: {reason}") from error


def _statement(sql: str) -> "TextClause":
    """Return a query as it is: a colon is one, not the mark of a parameter."""
    from sqlalchemy import text

    escaped = re.sub(r"\\(?=:\w*(?![:\w]))", r"\\\\", sql)
    return text(re.sub(r"(?<![:\w\\]):(?=\w+(?![:\w]))", r"\\:", escaped))


def _check_gives_rows(connection: Any, cursor: Any, *_: Any) -> None:
    """Refuse a statement that gives no rows."""
    if cursor.description is None:
        raise ValueError("it gives no rows; give a SELECT")


def _go_on() -> int:
    """Have SQLite go on; Python hears signals only where its own code runs, and one that raises here ends the query."""
    return 0


def _is_interrupted(error: Exception) -> bool:
    """Say whether SQLite was interrupted: nobody but a signal does that here."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_INTERRUPT


def _may_only_read(action: int, *_: Any) -> int:
    """Answer SQLite, which asks before it does anything: a query may neither attach files nor change settings."""
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


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
