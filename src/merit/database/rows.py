"""The rows of a query, and their conversion to tables."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl

FETCH_ROWS = 10_000
MAX_TABLE_BYTES = 8 * 2**30
"""Memory in bytes that rows may take as Python objects, before they become columns."""
MAX_MESSAGE_CHARACTERS = 300


class DatabaseError(MeritError):
    """A database can't be queried. The message never contains values of rows."""


@dataclass(frozen=True)
class QueryResult:
    """The result of a query.

    Attributes:
        names: the column names.
        fetch_rows: returns up to that many of the next rows; empty at the end.
    """

    names: list[str]
    fetch_rows: Callable[[int], Sequence[tuple[Any, ...]]]


def check_column_names(names: Sequence[str]) -> None:
    """Refuse duplicate column names.

    Raises:
        DatabaseError: two columns have the same name.
    """
    if duplicate := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise DatabaseError(f"the column '{clean_text(duplicate)}' appears more than once; name each with AS")


def read_all(rows: QueryResult) -> "pl.DataFrame":
    """Return all rows as one table.

    Raises:
        DatabaseError: the rows exceed the memory limit, or a column holds values of several types.
    """
    all_rows: list[tuple[Any, ...]] = []
    size = 0
    while batch := rows.fetch_rows(FETCH_ROWS):
        all_rows += batch
        size += sum(map(sys.getsizeof, chain(batch, chain.from_iterable(batch))))
        if size > MAX_TABLE_BYTES:
            raise DatabaseError(f"the query gives more than {MAX_TABLE_BYTES / 2**30:g} GiB; select less")
    return create_table(rows.names, all_rows)


def create_table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> "pl.DataFrame":
    """Return rows as a table; each column gets the type of its values.

    Raises:
        DatabaseError: a column holds values of several types, or of an unsupported type.
    """
    import polars as pl

    try:
        return pl.DataFrame(rows, schema=list(names), orient="row", infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        pass
    raise DatabaseError(_describe_misfit(names, rows))  # outside the handler: Polars' message holds values


def _describe_misfit(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    """Return a message on the column that can't be built, with the types of its values."""
    for number, name in enumerate(names):
        types = sorted({type(row[number]).__name__ for row in rows if row[number] is not None})
        if len(types) > 1 and types != ["float", "int"] and "str" not in types:  # a text among them makes all texts
            return (
                f"the column '{clean_text(name)}' holds values of several types ({', '.join(types)}); CAST it in the "
                "query"
            )
    return "a column holds values that no column of a table can hold; CAST it in the query"


def clean_text(text: str) -> str:
    """Return a text from a database in one line, without control characters, which a terminal would execute."""
    line = " ".join(text.split())[:MAX_MESSAGE_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in line)
