"""Recognise null values: texts match as they are written, numbers and times among them by value.

If a column declares "-999", the value -999 is null in every representation: as text, as a number of a table or of JSON.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Any

from merit.reading.declaration import Declaration, declared
from merit.reading.times import clock


def nulls_of(column: Mapping[str, Any]) -> Declaration | None:
    """Return the column's declaration if its values need a check for null markers; else None."""
    declaration = declared(column["name"], column)
    return declaration if column["type"] == "datetime" or declaration.null_values else None


@cache
def null_cells(column: Declaration) -> tuple[float | datetime, ...]:
    """Return the numbers or times that are null values of a column."""
    if column.type in {"integer", "number"}:
        return tuple(_numbers(column))
    if column.type == "datetime":
        return tuple(time for word in column.null_values if (time := clock(word, column.format)) is not None)
    return ()


def _numbers(column: Declaration) -> Iterator[float]:
    for word in column.null_values:
        plain = word.replace(column.thousands or "\0", "").replace(column.decimal or ".", ".")
        with suppress(ValueError):
            if isfinite(number := float(plain)):
                yield number


def is_null(value: Any, column: Declaration) -> bool:
    """Return whether a JSON value is null for a column."""
    if isinstance(value, str):
        text = value.strip()
        if text in column.null_values or (column.type == "datetime" and not text):
            return True
        stands = null_cells(column) if column.type == "datetime" else ()
        return bool(stands) and clock(text, column.format) in stands
    return not isinstance(value, bool) and value in null_cells(column)
