"""What means that there is no value: a column's words as they are written, numbers and times among them by value.

-999 means nothing in whatever way it is stored, where the word "-999" does: as text, as a number of a table or of JSON.
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
    """Return the numbers or times that mean no value in a column."""
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
    """Say whether a value of JSON means that there is none."""
    if isinstance(value, str):
        text = value.strip()
        if text in column.null_values or (column.type == "datetime" and not text):
            return True
        stands = null_cells(column) if column.type == "datetime" else ()
        return bool(stands) and clock(text, column.format) in stands
    return not isinstance(value, bool) and value in null_cells(column)
