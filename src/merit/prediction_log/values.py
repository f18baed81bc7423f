"""Converts the values of a feedback key to the types of the log, because JSON may write a number as 529 or 529.0."""

from collections.abc import Mapping
from typing import Any

from merit.reading.times import clock

FORMS = {
    "string": "a text",
    "integer": "a whole number of 64 bits",
    "number": "a number of 64 bits",
    "boolean": "true or false",
    "datetime": "a time such as 2024-01-31T15:30:00",
}
"""The allowed values of each type, for messages; an array can't be part of a key."""


def formed(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a JSON value converted to the type of its column, so that equal values compare equal.

    Raises:
        ValueError: it can't be converted; the message says what is allowed.
    """
    allowed = FORMS.get(column["type"])
    if allowed is None:
        raise ValueError("an array can't be part of a key; send another column")
    made = _made(value, column)
    if made is None:
        raise ValueError(f"the model takes {allowed}")
    return made


def _made(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a value converted to the type of its column; None if it can't be."""
    kind = column["type"]
    if kind in ("string", "boolean"):
        return value if isinstance(value, str if kind == "string" else bool) else None
    if kind == "datetime":
        return clock(value, column.get("format")) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        made = float(value) if kind == "number" else int(value)
    except OverflowError:  # beyond the range of a float
        return None
    is_lost = kind == "integer" and (made != value or not -(2**63) <= made < 2**63)
    return None if is_lost else made
