"""Rows as people send them: checked against the package's signature, then columns as the graph takes them."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError
from merit.reading.declaration import EXACT, Declaration
from merit.reading.nulls import is_null, nulls_of
from merit.reading.times import clock
from merit.scoring.package import Columns, Package
from merit.serving.app.block import MOST, Block

TYPES: dict[str, Any] = {
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=-EXACT, le=EXACT)],
    "number": float,
    "boolean": bool,
    "datetime": str,
    "array": list[Any],
}
FORM = "send one row as an object, or many as an array of objects"
LEAST = len("{},")
"""Bytes that a row takes at least."""
FITS = "send one that fits 64 bits"

Row = tuple[Any, ...]
"""The values of the columns of numbers, then those of strings, then those of arrays; None is missing."""


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
        numbers: the columns of one number: also times, which are seconds, and truth values.
        strings: those of one string.
        arrays: those of arrays, and their shapes.
    """

    def __init__(self, package: Package, most: int) -> None:
        self._told, self.most = package.inputs, most
        kinds = [(_group(column, package.graph.inputs), column) for column in package.inputs]
        self._inputs = [column for group in ("numbers", "strings", "arrays") for of, column in kinds if of == group]
        self.numbers = [column["name"] for group, column in kinds if group == "numbers"]
        self.strings = [column["name"] for group, column in kinds if group == "strings"]
        self.arrays = {column["name"]: column["shape"] for group, column in kinds if group == "arrays"}
        readers = [_reader(column) for column in self._inputs]
        self._readers = [(place, reader) for place, reader in enumerate(readers) if reader is not None]
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

    def block(self, capacity: int = MOST) -> Block:
        """Return an empty block for so many rows of these columns."""
        return Block(self.numbers, self.strings, self.arrays, capacity)

    def columns(self, body: bytes) -> Columns:
        """Return the columns of one row, an object, or of many, an array of objects.

        Raises:
            BadRows: it is not JSON; a column is unknown, missing or of another type; there is no row, or too many.
        """
        return self.packed(self.values(body), body)

    def packed(self, rows: list[Row], body: bytes) -> Columns:
        """Return the columns of rows that `values` has read of a body.

        Raises:
            BadRows: a number does not fit 64 bits.
        """
        block = self.block(len(rows))
        try:
            block.put(rows)
        except OverflowError as error:
            raise self._refused(body, f"a number is too large; {FITS}") from error
        return block.taken()

    def values(self, body: bytes) -> list[Row]:
        """Return the rows of a body, an object or an array of objects.

        Raises:
            BadRows: as `columns` does, but for numbers that don't fit 64 bits.
        """
        try:
            return self._read(body)
        except RecursionError as error:
            raise BadRows(f"nested too deeply; {FORM}") from error

    def _read(self, body: bytes) -> list[Row]:
        try:
            return self._tuples(self._decoded(body))
        except msgspec.ValidationError as error:
            return self._leniently(body, str(error))
        except BadRows as error:
            raise self._refused(body, str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRows(f"not JSON ({str(error).rstrip('.')}); {FORM}") from error

    def _decoded(self, body: bytes) -> list[Any]:
        if body.lstrip()[:1] != b"[":
            return [self._one.decode(body)]
        # Counted before they are made: a million empty rows are small on the wire and large in memory.
        can_be_many = len(body) > LEAST * self.most and _braces(body) > self.most
        found = len(self._count.decode(body)) if can_be_many else 0
        rows = self._many.decode(body) if found <= self.most else []
        if found > self.most:
            raise BadRows(f"found {found} rows; at most {self.most} are taken in one request (serve.max_rows)")
        if not rows:
            raise BadRows("the array holds no row; send at least one")
        return rows

    def _leniently(self, body: bytes, first: str) -> list[Row]:
        """Read rows whose whole numbers are written as 2.0, which JSON holds for the same; slower, so tried last.

        Raises:
            BadRows: that is not what is wrong.
        """
        try:
            rows = self._loose.decode(body) if body.lstrip()[:1] == b"[" else [self._loose_one.decode(body)]
            if all(is_whole(getattr(row, field)) for row in rows for field in self._whole if getattr(row, field)):
                return self._tuples(rows)
        except (msgspec.DecodeError, UnicodeDecodeError, BadRows) as error:
            raise self._refused(body, first) from error
        raise self._refused(body, first)

    def _refused(self, body: bytes, first: str) -> BadRows:
        """Return every problem of every row; msgspec stops at the first."""
        from merit.serving.app.problems import Problems

        found = Problems(self._told).of(body, self.most)
        if not found:
            return BadRows(first)
        return BadRows(found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more, in problems)", found)

    def _tuples(self, rows: list[Any]) -> list[Row]:
        """Return decoded rows as tuples, with what JSON has no type for read.

        Raises:
            BadRows: a time or an array is none.
        """
        found = list(map(msgspec.structs.astuple, rows))
        return [self._converted(row) for row in found] if self._readers else found

    def _converted(self, row: Row) -> Row:
        values = list(row)
        for place, reader in self._readers:
            values[place] = reader(values[place])
        return tuple(values)


def _braces(body: bytes) -> int:
    """Return how many rows there can be; `bytes.count` is ten times slower."""
    return int(np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord("{")))


def number_of(name: str, values: list[Any]) -> NDArray[np.float64]:
    """Return numbers as the graph takes them.

    Raises:
        BadRows: one is too large.
    """
    try:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as error:
        raise BadRows(f"column '{name}': a number is too large; {FITS}") from error


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


def _group(column: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    if column["type"] == "array":
        return "arrays"
    return "strings" if kinds[column["name"]] == "string" else "numbers"


def _reader(column: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return what reads a value that JSON has no type for, or that may mean that there is none; None for the others."""
    if column["type"] == "array":
        return lambda value: array_of(column["name"], column["shape"], [value])[0]
    if (declaration := nulls_of(column)) is None:
        return None
    nullable = column["nullable"]
    if column["type"] == "datetime":
        return lambda value: _time(known(value, declaration, nullable=nullable), column)
    return lambda value: known(value, declaration, nullable=nullable)


def _time(value: str | None, column: Mapping[str, Any]) -> float | None:
    return None if value is None else seconds(column, value)


def _field(place: int, column: Mapping[str, Any], types: Mapping[str, Any]) -> Any:
    kind = types[column["type"]]
    if column["nullable"]:
        return (f"c{place}", kind | None, None)
    return (f"c{place}", kind)
