"""Rows as a driver gives them, and the tables that they become."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl

BATCH = 10_000
MOST_BYTES = 8 * 2**30
"""Memory that the rows of a table may take while they are read, before they become columns."""
SHOWN = 300


class DatabaseError(MeritError):
    """A database can't be asked; no value of its rows stands in the message."""


@dataclass(frozen=True)
class Rows:
    """The rows of a query: the names of its columns, and what fetches the next ones."""

    names: list[str]
    fetch: Callable[[int], Sequence[tuple[Any, ...]]]


def check_names(names: Sequence[str]) -> None:
    """Refuse columns of one name.

    Raises:
        DatabaseError: two columns have the same name.
    """
    if again := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise DatabaseError(f"the column '{plain(again)}' appears more than once; name each with AS")


def whole(rows: Rows) -> "pl.DataFrame":
    """Return all rows as one table.

    Raises:
        DatabaseError: they don't fit into the memory that a table may take, or into columns.
    """
    found: list[tuple[Any, ...]] = []
    size = 0
    while batch := rows.fetch(BATCH):
        found += batch
        size += sum(map(sys.getsizeof, chain(batch, chain.from_iterable(batch))))
        if size > MOST_BYTES:
            raise DatabaseError(f"the query gives more than {MOST_BYTES / 2**30:g} GiB; select less")
    return table(rows.names, found)


def table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> "pl.DataFrame":
    """Return rows as a table; each column gets the type of its values.

    Raises:
        DatabaseError: a column holds values of several types, or ones that no column can hold.
    """
    import polars as pl

    try:
        return pl.DataFrame(rows, schema=list(names), orient="row", infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        pass
    raise DatabaseError(_misfit(names, rows))  # outside of the handler, for Polars' message holds values


def _misfit(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    """Return which column can't be made, by the types of its values."""
    for number, name in enumerate(names):
        kinds = sorted({type(row[number]).__name__ for row in rows if row[number] is not None})
        if len(kinds) > 1 and kinds != ["float", "int"] and "str" not in kinds:  # beside texts all are texts
            return (
                f"the column '{plain(name)}' holds values of several types ({', '.join(kinds)}); CAST it in the query"
            )
    return "a column holds values that no column of a table can hold; CAST it in the query"


def plain(text: str) -> str:
    """Return what a database says in one line, without what a terminal would act on."""
    line = " ".join(text.split())[:SHOWN]
    return "".join(character if character.isprintable() else "?" for character in line)
