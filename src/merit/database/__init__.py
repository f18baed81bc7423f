"""The rows of a query: one SELECT on SQLite or PostgreSQL, held to reading by the engine itself and not by its text.

SQLite opens the file read-only and asks an authorizer before it does anything; PostgreSQL declares a cursor for the
query, by the protocol that takes one statement, in a read-only transaction that is always rolled back, as a role that
has no rights on the server's files and programs. Another database has no such guard here, and is refused.
docs/decisions/0017-sql-by-engine-and-grammar.md tells what was refused.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from merit.database.rows import DatabaseError, Rows, table, whole

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import URL

__all__ = ["DatabaseError", "batches", "read", "url_of"]

SUCH_AS = "sqlite:///shop.db or postgresql+psycopg://user@127.0.0.1/shop"
DRIVERS = {"sqlite": ("", "pysqlite"), "postgresql": ("", "psycopg")}
"""The databases that can be asked, and the drivers that a URL may name: the first is none."""


def url_of(text: str) -> "URL":
    """Return the URL of a database that can be asked.

    Raises:
        DatabaseError: it is none, or another database's.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None:  # outside of the handler, for its message holds the text, and the text perhaps a password
        raise DatabaseError(f"the url is not one of a database; write one such as {SUCH_AS}")
    backend, _, driver = url.drivername.partition("+")
    if driver not in DRIVERS.get(backend, ()):
        raise DatabaseError(
            f"found a url of '{url.drivername}'; allowed: {SUCH_AS}; read another database by a source of your own "
            "(docs/own-python.md), or from a file"
        )
    if backend == "sqlite":
        _check_file(url)
    return url


def _check_file(url: "URL") -> None:
    """Refuse what is no plain path: a URI of SQLite's own could name another mode and other places."""
    name = url.database or ""
    if url.host or url.query or name in {"", ":memory:"} or name.startswith("file:"):
        raise DatabaseError("a url of SQLite names a file, without parameters and 'file:', such as sqlite:///shop.db")


def read(url: "URL", sql: str) -> "pl.DataFrame":
    """Return all rows of a query as one table.

    Raises:
        DatabaseError: the database can't be reached, the query does more than select, or gives too much.
    """
    with _opened(url, sql) as rows:
        return whole(rows)


def batches(url: "URL", sql: str, size: int) -> "Iterator[pl.DataFrame]":
    """Give the rows of a query as tables of `size` rows, as the database sends them; an empty one if there are none.

    Raises:
        DatabaseError: as `read` does.
    """
    with _opened(url, sql) as rows:
        found = rows.fetch(size)
        yield table(rows.names, found)
        while found := rows.fetch(size):
            yield table(rows.names, found)


def _opened(url: "URL", sql: str) -> AbstractContextManager[Rows]:
    """Run a query on its database."""
    if "\0" in sql:
        raise DatabaseError("the query holds a NUL character; remove it")
    if url.get_backend_name() == "sqlite":
        from merit.database import sqlite

        return sqlite.opened(str(url.database), sql)
    from merit.database import postgres

    return postgres.opened(url, sql)
