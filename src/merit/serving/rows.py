"""Rows as people send them: checked against the package's signature, then columns as the graph takes them."""

import difflib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError
from merit.scoring import Package

TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "datetime": str,
    "array": list[Any],
}
SCHEMAS: dict[str, dict[str, Any]] = {"datetime": {"type": "string", "format": "date-time"}}
"""The JSON Schema of the types that JSON doesn't have."""


class BadRows(MeritError):
    """The request can't be answered as it is; its text says where and what to change. Worth a 4xx."""


class Rows:
    """Turns a request's JSON into columns, by a type made from the signature.

    Args:
        package: whose signature says which columns there are.
        most: rows that one request may have.
    """

    def __init__(self, package: Package, most: int) -> None:
        self._inputs = package.inputs
        self._kinds = package.graph.inputs
        self._most = most
        # Field names must be identifiers, columns need not be: each field is renamed to its column.
        fields = [_field(place, column) for place, column in enumerate(self._inputs)]
        rename = {f"c{place}": column["name"] for place, column in enumerate(self._inputs)}
        row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True)
        self._one = msgspec.json.Decoder(row)
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]  # made at run time

    def columns(self, body: bytes) -> dict[str, NDArray[Any]]:
        """Return the columns of one row, an object, or of many, an array of objects.

        Raises:
            BadRows: it is not JSON; a column is unknown, missing or of another type; there is no row, or too many.
        """
        try:
            rows = self._many.decode(body) if body.lstrip()[:1] == b"[" else [self._one.decode(body)]
        except msgspec.ValidationError as error:
            raise BadRows(self._explained(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = str(error).rstrip(".")
            raise BadRows(f"not JSON ({reason}); send one row as an object, or many as an array of objects") from error
        if not rows:
            raise BadRows("the array holds no row; send at least one")
        if len(rows) > self._most:
            raise BadRows(f"found {len(rows)} rows; at most {self._most} are taken in one request (serve.max_rows)")
        return self._arrays(rows)

    def _explained(self, message: str) -> str:
        """Return msgspec's complaint as people read it: the row, the column, and what there may be."""
        text, _, path = message.partition(" - at `$")
        place = re.match(r"\[(\d+)\]", path)
        row = f"row {place[1]}: " if place else ""
        column = re.sub(r"^\[\d+\]", "", path).rstrip("`").removeprefix(".")
        names = [each["name"] for each in self._inputs]
        if unknown := re.search(r"unknown field `(.*)`", text):
            close = difflib.get_close_matches(unknown[1], names, n=1)
            meant = f"did you mean '{close[0]}'? " if close else ""
            return f"{row}unknown column '{unknown[1]}'; {meant}columns: {', '.join(names)}"
        if lacking := re.search(r"missing required field `(.*)`", text):
            required = [each["name"] for each in self._inputs if not each["nullable"]]
            return f"{row}the column '{lacking[1]}' is missing; required: {', '.join(required)}"
        return (
            f"{row}column '{column}': {text}"
            if column
            else f"{row}{text}; send one row as an object, or many as an array"
        )

    def _arrays(self, rows: list[Any]) -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {}
        for place, column in enumerate(self._inputs):
            values = [getattr(row, f"c{place}") for row in rows]
            if column["type"] == "array":
                made[column["name"]] = _arrays(column["name"], column["shape"], values)
            elif column["type"] == "datetime":
                made[column["name"]] = _times(column["name"], values)
            elif self._kinds[column["name"]] == "string":
                made[column["name"]] = np.array(["" if value is None else value for value in values], dtype=object)
            else:
                made[column["name"]] = _numbers(column["name"], values)
        return made


def _numbers(name: str, values: list[Any]) -> NDArray[np.float64]:
    try:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as error:
        raise BadRows(f"column '{name}': a number is too large; send one that fits 64 bits") from error


def _arrays(name: str, shape: list[int], values: list[Any]) -> NDArray[np.float64]:
    try:
        made = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # ragged, or not numbers
        made = np.empty(0)
    if list(made.shape[1:]) != shape or not np.isfinite(made).all():
        raise BadRows(f"column '{name}': send nested arrays of numbers, of the shape {shape}")
    return made


def _times(name: str, values: list[str | None]) -> NDArray[np.float64]:
    """Return the seconds since 1970 of each clock; a clock has no time zone, as the data it was trained on."""
    return np.array([math.nan if value is None else _seconds(name, value) for value in values], dtype=np.float64)


def _seconds(name: str, value: str) -> float:
    try:
        clock = datetime.fromisoformat(value)
    except ValueError as error:
        raise BadRows(f"column '{name}': found {value[:40]!r}; send a time as 2024-01-31T15:30:00") from error
    if clock.tzinfo is not None:
        raise BadRows(
            f"column '{name}': found {value[:40]!r}; send it without a zone, in UTC if the training data had zones"
        )
    return clock.replace(tzinfo=UTC).timestamp()


def _field(place: int, column: Mapping[str, Any]) -> Any:
    kind = TYPES[column["type"]]
    if column["nullable"]:
        return (f"c{place}", kind | None, None)
    return (f"c{place}", kind)


def _schema(column: Mapping[str, Any]) -> dict[str, Any]:
    if column["type"] != "array":
        return dict(SCHEMAS.get(column["type"], {"type": column["type"]}))
    made: dict[str, Any] = {"type": "number"}
    for size in reversed(column["shape"]):
        made = {"type": "array", "items": made, "minItems": size, "maxItems": size}
    return made


def body_schema(package: Package) -> dict[str, Any]:
    """Return the JSON Schema of a request's body, for the OpenAPI page."""
    properties = {}
    for column in package.inputs:
        one = _schema(column)
        if column["nullable"]:
            one = {"anyOf": [one, {"type": "null"}]}
        properties[column["name"]] = one | ({"description": column["description"]} if column["description"] else {})
    required = [column["name"] for column in package.inputs if not column["nullable"]]
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    example = package.signature["example"]
    return {
        "anyOf": [row, {"type": "array", "items": row, "minItems": 1}],
        "examples": [example],
        "title": "Rows",
    }
