"""Runs one SELECT on SQLite or PostgreSQL; the database engine, not a check of the SQL text, enforces read-only access.

SQLite opens the file read-only and calls an authorizer before each action. PostgreSQL declares a cursor for the query
by the extended protocol, which takes one statement, in a read-only transaction that is always rolled back, and as a
role without rights on the server's files and programs. Other databases have no such guard here and are refused.
docs/decisions/0017-sql-by-engine-and-grammar.md has the rejected alternatives.

Example:
    table = read_table(parse_url("sqlite:///shop.db"), "SELECT id, price FROM orders")
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from merit.database.rows import DatabaseError, QueryResult, create_table, read_all

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import URL

__all__ = ["DatabaseError", "parse_url", "read_batches", "read_table"]

URL_EXAMPLES = "sqlite:///shop.db or postgresql+psycopg://user@127.0.0.1/shop"
DRIVERS = {"sqlite": ("", "pysqlite"), "postgresql": ("", "psycopg")}
"""The supported databases, and the drivers that a URL may name; the empty name is the default driver."""


def parse_url(text: str) -> "URL":
    """Parse the URL of a supported database.

    Raises:
        DatabaseError: the text is no URL, or names an unsupported database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None:  # outside the handler: the message of the original error holds the text, which may hold a password
        raise DatabaseError(f"the url is not one of a database; write one such as {URL_EXAMPLES}")
    backend, _, driver = url.drivername.partition("+")
    if driver not in DRIVERS.get(backend, ()):
        raise DatabaseError(
            f"found a url of '{url.drivername}'; allowed: {URL_EXAMPLES}; read another database by a source of your "
            "own "
            "(docs/how-to/own-python.md), or from a file"
        )
    if backend == "sqlite":
        _check_path(url)
    return url


def _check_path(url: "URL") -> None:
    """Refuse everything but a plain path: a URI of SQLite could set another mode or open other files."""
    name = url.database or ""
    if url.host or url.query or name in {"", ":memory:"} or name.startswith("file:"):
        raise DatabaseError("a url of SQLite names a file, without parameters and 'file:', such as sqlite:///shop.db")


def read_table(url: "URL", sql: str) -> "pl.DataFrame":
    """Return all rows of a query as one table.

    Raises:
        DatabaseError: the database can't be reached, the query does more than select, or its result is too large.
    """
    with _open_query(url, sql) as rows:
        return read_all(rows)


def read_batches(url: "URL", sql: str, batch_rows: int) -> "Iterator[pl.DataFrame]":
    """Yield the rows of a query as tables of `batch_rows` rows, as the database sends them; one empty one without rows.

    Raises:
        DatabaseError: as `read_table` does.
    """
    with _open_query(url, sql) as rows:
        batch = rows.fetch_rows(batch_rows)
        yield create_table(rows.names, batch)
        while batch := rows.fetch_rows(batch_rows):
            yield create_table(rows.names, batch)


def _open_query(url: "URL", sql: str) -> AbstractContextManager[QueryResult]:
    """Return a context manager that runs a query and yields its rows."""
    if "\0" in sql:
        raise DatabaseError("the query holds a NUL character; remove it")
    if url.get_backend_name() == "sqlite":
        from merit.database import sqlite

        return sqlite.open_query(str(url.database), sql)
    from merit.database import postgres

    return postgres.open_query(url, sql)
