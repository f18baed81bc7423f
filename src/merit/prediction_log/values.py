"""The values of a key as the log has those of its columns: JSON writes one number as 529 or as 529.0."""

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
"""What is allowed of each type; an array is none of a key's."""


def formed(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a value that came in JSON as the log holds it: of its column's type, equal for equal values.

    Raises:
        ValueError: it can't be of that type; with what is allowed.
    """
    allowed = FORMS.get(column["type"])
    if allowed is None:
        raise ValueError("an array can't be part of a key; send another column")
    made = _made(value, column)
    if made is None:
        raise ValueError(f"the model takes {allowed}")
    return made


def _made(value: Any, column: Mapping[str, Any]) -> Any:
    """Return a value in its form; None where it has none."""
    kind = column["type"]
    if kind in ("string", "boolean"):
        return value if isinstance(value, str if kind == "string" else bool) else None
    if kind == "datetime":
        return clock(value, column.get("format")) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        made = float(value) if kind == "number" else int(value)
    except OverflowError:  # more than a float can hold
        return None
    is_lost = kind == "integer" and (made != value or not -(2**63) <= made < 2**63)
    return None if is_lost else made
