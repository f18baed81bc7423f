"""Converts the values of JSON rows to those of the graph's columns, or says why a value is none."""

from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError
from merit.reading.declaration import MAX_EXACT_INTEGER, ColumnDeclaration
from merit.reading.nulls import is_null
from merit.reading.times import parse_time

PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=-MAX_EXACT_INTEGER, le=MAX_EXACT_INTEGER)],
    "number": float,
    "boolean": bool,
    "datetime": str,
    "array": list[Any],
}
BODY_ADVICE = "send one row as an object, or many as an array of objects"


class BadRows(MeritError):
    """Invalid rows in a request (HTTP 400); the text says where the problem is and what to change.

    Args:
        message: the first problem, in one line.
        problems: all problems, up to a limit; None if the message is the only one.
    """

    def __init__(self, message: str, problems: list[str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or [message]


def convert_arrays(name: str, shape: list[int], values: list[Any]) -> NDArray[np.float64]:
    """Convert nested lists to one float64 array, [rows, *shape].

    Raises:
        BadRows: a list is ragged, has another shape, or contains something other than finite numbers.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # ragged, or not numbers
        array = np.empty(0)
    if list(array.shape[1:]) != shape or not np.isfinite(array).all():
        raise BadRows(f"column '{name}': send nested arrays of numbers, of the shape {shape}")
    return array


def is_whole(value: float) -> bool:
    """Return whether a number is an integer that float64 represents exactly."""
    return value % 1 == 0 and (
        abs(value) < MAX_EXACT_INTEGER or (abs(value) == MAX_EXACT_INTEGER and isinstance(value, int))
    )


def resolve_null(value: Any, column: ColumnDeclaration, *, nullable: bool) -> Any:
    """Return a value, or None if the column declares it as a null marker.

    Raises:
        BadRows: it is a null marker and the column is not nullable.
    """
    if value is None or not is_null(value, column):
        return value
    if not nullable:
        raise BadRows(f"column '{column.name}': {value!r} means that there is no value; it must have one")
    return None


def parse_timestamp(column: Mapping[str, Any], value: str) -> float:
    """Return the seconds since 1970 of a datetime; one with an offset is converted to UTC, as in the training data.

    Raises:
        BadRows: the value is not a datetime.
    """
    time_format = column.get("format")
    if (moment := parse_time(value, time_format)) is not None:
        return moment.replace(tzinfo=UTC).timestamp()
    advice = f", or by the format {time_format}" if time_format else ""
    raise BadRows(f"column '{column['name']}': found {value[:40]!r}; send a time as 2024-01-31T15:30:00{advice}")
