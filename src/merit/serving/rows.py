"""Rows as people send them: checked against the package's signature, then columns as the graph takes them."""

import math
from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError
from merit.reading.declaration import EXACT, Declaration, declared
from merit.reading.nulls import is_null
from merit.reading.times import clock
from merit.scoring import Package

TYPES: dict[str, Any] = {
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=-EXACT, le=EXACT)],
    "number": float,
    "boolean": bool,
    "datetime": str,
    "array": list[Any],
}
FORM = "send one row as an object, or many as an array of objects"

Columns = dict[str, NDArray[Any]]


class BadRows(MeritError):
    """The request can't be answered as it is; its text says where and what to change. Worth a 4xx.

    Args:
        message: the first problem, in one line.
        problems: all of them, up to a bound; the message alone where it is the only one.
    """

    def __init__(self, message: str, problems: list[str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or [message]


class Rows:
    """Turns a request's JSON into columns, by a type made from the signature.

    Args:
        package: whose signature says which columns there are.
        most: rows that one request may have.

    Attributes:
        most: rows that one request may have.
        numbers: the columns that the graph takes as numbers.
        strings: those that it takes as strings.
        is_plain: whether each column is one number or one string, as JSON has it.
    """

    def __init__(self, package: Package, most: int) -> None:
        self._told, self._kinds, self.most = package.inputs, package.graph.inputs, most
        self._inputs = sorted(package.inputs, key=lambda column: self._kinds[column["name"]] == "string")
        self.numbers = [each["name"] for each in self._inputs if self._kinds[each["name"]] != "string"]
        self.strings = [each["name"] for each in self._inputs if self._kinds[each["name"]] == "string"]
        self.is_plain = not any(each["type"] == "array" or nulls_of(each) for each in self._inputs)
        self._nulls = {
            each["name"]: declaration for each in self._inputs if (declaration := nulls_of(each)) is not None
        }
        # Field names must be identifiers, columns need not be: each field is renamed to its column.
        fields = [_field(place, column, TYPES) for place, column in enumerate(self._inputs)]
        loose = [_field(place, column, TYPES | {"integer": int | float}) for place, column in enumerate(self._inputs)]
        self._whole = [f"c{place}" for place, column in enumerate(self._inputs) if column["type"] == "integer"]
        rename = {f"c{place}": column["name"] for place, column in enumerate(self._inputs)}
        row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True)
        row_loose = msgspec.defstruct("Loose", loose, rename=rename, forbid_unknown_fields=True, kw_only=True)
        self._loose_one = msgspec.json.Decoder(row_loose)
        self._loose = msgspec.json.Decoder(list[row_loose])  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(row)
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]  # made at run time
        self._count = msgspec.json.Decoder(list[msgspec.Raw])

    def columns(self, body: bytes) -> Columns:
        """Return the columns of one row, an object, or of many, an array of objects.

        Raises:
            BadRows: it is not JSON; a column is unknown, missing or of another type; there is no row, or too many.
        """
        try:
            return self._read(body)
        except RecursionError as error:
            raise BadRows(f"nested too deeply; {FORM}") from error

    def _read(self, body: bytes) -> Columns:
        try:
            return self._arrays(self._decoded(body))
        except msgspec.ValidationError as error:
            return self._leniently(body, str(error))
        except BadRows as error:
            raise self._refused(body, str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRows(f"not JSON ({str(error).rstrip('.')}); {FORM}") from error

    def values(self, body: bytes) -> tuple[Any, ...]:
        """Return the values of one row, an object: those of the columns `numbers`, then those of `strings`.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: it is no such row; `columns` says why, or takes it after all.
        """
        return msgspec.structs.astuple(self._one.decode(body))

    def _decoded(self, body: bytes) -> list[Any]:
        if body.lstrip()[:1] != b"[":
            return [self._one.decode(body)]
        # Counted before they are made: a million empty rows are small on the wire and large in memory.
        found = len(self._count.decode(body)) if body.count(b"{") > self.most else 0
        rows = self._many.decode(body) if found <= self.most else []
        if found > self.most:
            raise BadRows(f"found {found} rows; at most {self.most} are taken in one request (serve.max_rows)")
        if not rows:
            raise BadRows("the array holds no row; send at least one")
        return rows

    def _leniently(self, body: bytes, first: str) -> Columns:
        """Read rows whose whole numbers are written as 2.0, which JSON holds for the same; slower, so tried last.

        Raises:
            BadRows: that is not what is wrong.
        """
        try:
            rows = self._loose.decode(body) if body.lstrip()[:1] == b"[" else [self._loose_one.decode(body)]
            if all(is_whole(getattr(row, field)) for row in rows for field in self._whole if getattr(row, field)):
                return self._arrays(rows)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._refused(body, first) from error
        raise self._refused(body, first)

    def _refused(self, body: bytes, first: str) -> BadRows:
        """Return every problem of every row; msgspec stops at the first."""
        from merit.serving.problems import Problems

        found = Problems(self._told).of(body, self.most)
        if not found:
            return BadRows(first)
        return BadRows(found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more, in problems)", found)

    def _arrays(self, rows: list[Any]) -> Columns:
        made: Columns = {}
        for place, column in enumerate(self._inputs):
            name = column["name"]
            values = [getattr(row, f"c{place}") for row in rows]
            if (declaration := self._nulls.get(name)) is not None:
                values = [known(value, declaration, nullable=column["nullable"]) for value in values]
            if column["type"] == "array":
                made[name] = array_of(name, column["shape"], values)
            elif column["type"] == "datetime":
                made[name] = np.array([math.nan if each is None else seconds(column, each) for each in values])
            elif self._kinds[name] == "string":
                made[name] = np.array(["" if value is None else value for value in values], dtype=object)
            else:
                made[name] = number_of(name, values)
        return made


def number_of(name: str, values: list[Any]) -> NDArray[np.float64]:
    """Return numbers as the graph takes them.

    Raises:
        BadRows: one is too large.
    """
    try:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as error:
        raise BadRows(f"column '{name}': a number is too large; send one that fits 64 bits") from error


def array_of(name: str, shape: list[int], values: list[Any]) -> NDArray[np.float64]:
    """Return nested lists as one array, [rows, *shape].

    Raises:
        BadRows: one is ragged, of another shape, or holds more than finite numbers.
    """
    try:
        made = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # ragged, or not numbers
        made = np.empty(0)
    if list(made.shape[1:]) != shape or not np.isfinite(made).all():
        raise BadRows(f"column '{name}': send nested arrays of numbers, of the shape {shape}")
    return made


def is_whole(value: float) -> bool:
    """Say whether a number is whole, and not so large that the graph would take another for it."""
    return value % 1 == 0 and (abs(value) < EXACT or (abs(value) == EXACT and isinstance(value, int)))


def nulls_of(column: Mapping[str, Any]) -> Declaration | None:
    """Return how a column's values are read, if some of them may mean that there is none; else None."""
    declaration = declared(column["name"], column)
    return declaration if column["type"] == "datetime" or declaration.null_values else None


def known(value: Any, column: Declaration, *, nullable: bool) -> Any:
    """Return a value, None for one that means in this column that there is none.

    Raises:
        BadRows: it must have one.
    """
    if value is None or not is_null(value, column):
        return value
    if not nullable:
        raise BadRows(f"column '{column.name}': {value!r} means that there is no value; it must have one")
    return None


def seconds(column: Mapping[str, Any], value: str) -> float:
    """Return the seconds since 1970 of a clock; of one with an offset those of UTC, as in the data it was trained on.

    Raises:
        BadRows: it is none.
    """
    format = column.get("format")
    if (time := clock(value, format)) is not None:
        return time.replace(tzinfo=UTC).timestamp()
    advice = f", or by the format {format}" if format else ""
    raise BadRows(f"column '{column['name']}': found {value[:40]!r}; send a time as 2024-01-31T15:30:00{advice}")


def _field(place: int, column: Mapping[str, Any], types: Mapping[str, Any]) -> Any:
    kind = types[column["type"]]
    if column["nullable"]:
        return (f"c{place}", kind | None, None)
    return (f"c{place}", kind)
