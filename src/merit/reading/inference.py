"""Infer the types of undeclared columns from all of their cells: for filters, targets, and `merit infer`.

Text becomes integers, numbers, booleans (true and false), dates or ISO 8601 times if every cell is one. It stays text
otherwise, and where a conversion would lose something: codes with leading zeros, integers beyond 2**53.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from merit.reading.column_cells import read_column
from merit.reading.declaration import ColumnDeclaration, build_declaration

SAMPLE_CELLS = 100
"""Cells that are tried first: they rule out most types at almost no cost."""


def infer_types(table: pl.DataFrame, *, is_text: bool, defaults: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Return a table with its text columns converted to their inferred types.

    Args:
        table: as a source gives it.
        is_text: whether the source has no types, as CSV; otherwise only dates and times are inferred.
        defaults: the source's settings for all columns: `null_values` and `decimal`.
    """
    texts = table.select(pl.col(pl.String))
    return table.with_columns([infer_column(column, is_text=is_text, defaults=defaults) for column in texts])


def infer_column(text: pl.Series, *, is_text: bool = True, defaults: Mapping[str, Any] | None = None) -> pl.Series:
    """Return a text column converted to its inferred type."""
    for type in ("integer", "number", "boolean", "datetime") if is_text else ("datetime",):
        if (values := _try_type(text, build_declaration(text.name, {"type": type}, defaults))) is not None:
            return values
    return read_column(text, build_declaration(text.name, {"type": "string"}, defaults)).values


def _try_type(text: pl.Series, column: ColumnDeclaration) -> pl.Series | None:
    """Return a text column converted to a type; None unless every cell can be."""
    if _read_as(text.drop_nulls().head(SAMPLE_CELLS), column) is None:
        return None
    return _read_as(text, column)


def _read_as(text: pl.Series, column: ColumnDeclaration) -> pl.Series | None:
    reading = read_column(text, column)
    if (
        reading.unread is not None
        or reading.values.null_count() == len(text)
        or not _is_lossless(text, reading.values, column)
    ):
        return None
    if column.type == "datetime" and bool((text.str.strip_chars().str.len_bytes() == 10).all()):
        return reading.values.cast(pl.Date)
    return reading.values


def _is_lossless(text: pl.Series, values: pl.Series, column: ColumnDeclaration) -> bool:
    """Return whether the values preserve the text's information: not for 007, a code, nor for 0 and 1 as booleans."""
    stripped = text.str.strip_chars()
    if column.type == "boolean":
        return not stripped.is_in(["0", "1"]).any()
    if column.type == "integer":
        return not stripped.str.contains(r"^[+-]?0[0-9]|[.eE]").any()
    return column.type != "number" or not stripped.str.contains(r"^[+-]?0[0-9]").any()
