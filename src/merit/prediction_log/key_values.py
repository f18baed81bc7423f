"""Converts the values of a feedback key to the types of the log, because JSON may write a number as 529 or 529.0."""

from collections.abc import Mapping
from typing import Any

from merit.reading.times import parse_time

ALLOWED_VALUES = {
    "string": "a text",
    "integer": "a whole number of 64 bits",
    "number": "a number of 64 bits",
    "boolean": "true or false",
    "datetime": "a time such as 2024-01-31T15:30:00",
}
"""The allowed values of each type, for messages; an array can't be part of a key."""


def convert_value(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a JSON value converted to the type of its column, so that equal values compare equal.

    Raises:
        ValueError: it can't be converted; the message says what is allowed.
    """
    allowed = ALLOWED_VALUES.get(column["type"])
    if allowed is None:
        raise ValueError("an array can't be part of a key; send another column")
    converted = _try_convert(value, column)
    if converted is None:
        raise ValueError(f"the model takes {allowed}")
    return converted


def _try_convert(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a value converted to the type of its column; None if it can't be."""
    kind = column["type"]
    if kind in ("string", "boolean"):
        return value if isinstance(value, str if kind == "string" else bool) else None
    if kind == "datetime":
        return parse_time(value, column.get("format")) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value) if kind == "number" else int(value)
    except OverflowError:  # beyond the range of a float
        return None
    is_lost = kind == "integer" and (converted != value or not -(2**63) <= converted < 2**63)
    return None if is_lost else converted
