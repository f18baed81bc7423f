"""Recognise null values: texts match as they are written, numbers and times among them by value.

If a column declares "-999", the value -999 is null in every representation: as text, as a number of a table or of JSON.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Any

from merit.reading.declaration import ColumnDeclaration, build_declaration
from merit.reading.times import parse_time


def build_null_declaration(column: Mapping[str, Any]) -> ColumnDeclaration | None:
    """Return the column's declaration if its values need a check for null markers; else None."""
    declaration = build_declaration(column["name"], column)
    return declaration if column["type"] == "datetime" or declaration.null_values else None


@cache
def get_null_values(column: ColumnDeclaration) -> tuple[float | datetime, ...]:
    """Return the numbers or times that are null values of a column."""
    if column.type in {"integer", "number"}:
        return tuple(_parse_null_numbers(column))
    if column.type == "datetime":
        return tuple(time for word in column.null_values if (time := parse_time(word, column.format)) is not None)
    return ()


def _parse_null_numbers(column: ColumnDeclaration) -> Iterator[float]:
    for word in column.null_values:
        plain = word.replace(column.thousands or "\0", "").replace(column.decimal or ".", ".")
        with suppress(ValueError):
            if isfinite(number := float(plain)):
                yield number


def is_null(value: Any, column: ColumnDeclaration) -> bool:
    """Return whether a JSON value is null for a column."""
    if isinstance(value, str):
        text = value.strip()
        if text in column.null_values or (column.type == "datetime" and not text):
            return True
        null_times = get_null_values(column) if column.type == "datetime" else ()
        return bool(null_times) and parse_time(text, column.format) in null_times
    return not isinstance(value, bool) and value in get_null_values(column)
