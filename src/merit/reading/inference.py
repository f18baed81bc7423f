"""The type of a column that nobody declared, by all of its cells: for filters, targets, and `merit infer`.

Text is taken for whole numbers, numbers, truths (true and false), days or times in ISO 8601, if every cell is one. It
stays text otherwise, and where reading would lose something: codes with leading zeros, whole numbers beyond 2**53.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from merit.reading.cells import read
from merit.reading.declaration import Declaration, declared

SAMPLE = 100
"""Cells that settle it for most columns, and cost nothing."""


def typed(table: pl.DataFrame, *, is_text: bool, defaults: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Return a table whose columns of text have the types that their cells say.

    Args:
        table: as a source gives it.
        is_text: whether the source knows no types, as CSV; else only days and times are looked for.
        defaults: what the source says of all columns: `null_values` and `decimal`.
    """
    texts = table.select(pl.col(pl.String))
    return table.with_columns([inferred(column, is_text=is_text, defaults=defaults) for column in texts])


def inferred(text: pl.Series, *, is_text: bool = True, defaults: Mapping[str, Any] | None = None) -> pl.Series:
    """Return a column of text in the type that its cells say."""
    for type in ("integer", "number", "boolean", "datetime") if is_text else ("datetime",):
        if (values := _as(text, declared(text.name, {"type": type}, defaults))) is not None:
            return values
    return read(text, declared(text.name, {"type": "string"}, defaults)).values


def _as(text: pl.Series, column: Declaration) -> pl.Series | None:
    """Return a column of text as a type, None if that is not what all of its cells say."""
    if _said(text.drop_nulls().head(SAMPLE), column) is None:
        return None
    return _said(text, column)


def _said(text: pl.Series, column: Declaration) -> pl.Series | None:
    reading = read(text, column)
    if (
        reading.unread is not None
        or reading.values.null_count() == len(text)
        or not _is_lossless(text, reading.values, column)
    ):
        return None
    if column.type == "datetime" and bool((text.str.strip_chars().str.len_bytes() == 10).all()):
        return reading.values.cast(pl.Date)
    return reading.values


def _is_lossless(text: pl.Series, values: pl.Series, column: Declaration) -> bool:
    """Say whether text says no more than the values that were read: 007 is a code, 1 and 0 are numbers, 1.0 is one."""
    bare = text.str.strip_chars()
    if column.type == "boolean":
        return not bare.is_in(["0", "1"]).any()
    if column.type == "integer":
        return not bare.str.contains(r"^[+-]?0[0-9]|[.eE]").any()
    return column.type != "number" or not bare.str.contains(r"^[+-]?0[0-9]").any()
