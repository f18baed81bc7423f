"""Decodes JSON rows: validates them against the package's signature and converts them to the graph's columns."""

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
"""Minimum bytes of a row in a body."""
FITS = "send one that fits 64 bits"

Row = tuple[Any, ...]
"""Values of the number columns, then of the string columns, then of the array columns; None marks a missing value."""


class BadRows(MeritError):
    """Invalid rows in a request (HTTP 400); the text says where the problem is and what to change.

    Args:
        message: the first problem, in one line.
        problems: all problems, up to a limit; None if the message is the only one.
    """

    def __init__(self, message: str, problems: list[str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or [message]


class Rows:
    """Decodes JSON bodies into columns, with msgspec types generated from the signature.

    Args:
        package: the package whose signature defines the columns.
        most: maximum rows per request.

    Attributes:
        most: maximum rows per request.
        numbers: names of the number columns, including datetimes (in seconds since 1970) and booleans.
        strings: names of the string columns.
        arrays: names and shapes of the array columns.
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
        # Struct fields must be Python identifiers, but columns need not be: fields are c0, c1, ... renamed to columns.
        fields = [_field(place, column, TYPES) for place, column in enumerate(self._inputs)]
        loose = [_field(place, column, TYPES | {"integer": int | float}) for place, column in enumerate(self._inputs)]
        self._whole = [f"c{place}" for place, column in enumerate(self._inputs) if column["type"] == "integer"]
        rename = {f"c{place}": column["name"] for place, column in enumerate(self._inputs)}
        row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True)
        row_loose = msgspec.defstruct("Loose", loose, rename=rename, forbid_unknown_fields=True, kw_only=True)
        self._loose_one = msgspec.json.Decoder(row_loose)
        self._loose = msgspec.json.Decoder(list[row_loose])  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(row)
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]  # created at run time
        self._count = msgspec.json.Decoder(list[msgspec.Raw])

    def block(self, capacity: int = MOST) -> Block:
        """Return an empty buffer for `capacity` rows of these columns."""
        return Block(self.numbers, self.strings, self.arrays, capacity)

    def columns(self, body: bytes) -> Columns:
        """Decode the columns of a body: one row (an object) or several (an array of objects).

        Raises:
            BadRows: the body is not JSON, a column is unknown, missing or of another type, or there are no rows or too
                many.
        """
        return self.packed(self.values(body), body)

    def packed(self, rows: list[Row], body: bytes) -> Columns:
        """Convert rows to columns; `body` is the one they were decoded from, for error messages.

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
        """Decode the rows of a body, an object or an array of objects.

        Raises:
            BadRows: the body is invalid; whether numbers fit 64 bits is checked only when rows become columns.
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
        # Count before decoding: a million empty rows are small on the wire and large in memory.
        can_be_many = len(body) > LEAST * self.most and _braces(body) > self.most
        found = len(self._count.decode(body)) if can_be_many else 0
        rows = self._many.decode(body) if found <= self.most else []
        if found > self.most:
            raise BadRows(f"found {found} rows; at most {self.most} are taken in one request (serve.max_rows)")
        if not rows:
            raise BadRows("the array holds no row; send at least one")
        return rows

    def _leniently(self, body: bytes, first: str) -> list[Row]:
        """Decode rows that write integers as 2.0, which JSON treats like 2; slower, so tried only after an error.

        Raises:
            BadRows: the rows have another problem.
        """
        try:
            rows = self._loose.decode(body) if body.lstrip()[:1] == b"[" else [self._loose_one.decode(body)]
            if all(is_whole(getattr(row, field)) for row in rows for field in self._whole if getattr(row, field)):
                return self._tuples(rows)
        except (msgspec.DecodeError, UnicodeDecodeError, BadRows) as error:
            raise self._refused(body, first) from error
        raise self._refused(body, first)

    def _refused(self, body: bytes, first: str) -> BadRows:
        """Return the error with every problem of every row; msgspec reports only the first."""
        from merit.serving.app.problems import Problems

        found = Problems(self._told).of(body, self.most)
        if not found:
            return BadRows(first)
        return BadRows(found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more, in problems)", found)

    def _tuples(self, rows: list[Any]) -> list[Row]:
        """Convert decoded rows to tuples, with datetimes, arrays and null markers converted.

        Raises:
            BadRows: a datetime or an array is invalid.
        """
        found = list(map(msgspec.structs.astuple, rows))
        return [self._converted(row) for row in found] if self._readers else found

    def _converted(self, row: Row) -> Row:
        values = list(row)
        for place, reader in self._readers:
            values[place] = reader(values[place])
        return tuple(values)


def _braces(body: bytes) -> int:
    """Return the number of `{`, an upper bound of the rows; `bytes.count` is ten times slower."""
    return int(np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord("{")))


def number_of(name: str, values: list[Any]) -> NDArray[np.float64]:
    """Convert numbers to float64 [rows], None to NaN.

    Raises:
        BadRows: a number is too large.
    """
    try:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as error:
        raise BadRows(f"column '{name}': a number is too large; {FITS}") from error


def array_of(name: str, shape: list[int], values: list[Any]) -> NDArray[np.float64]:
    """Convert nested lists to one float64 array, [rows, *shape].

    Raises:
        BadRows: a list is ragged, has another shape, or contains something other than finite numbers.
    """
    try:
        made = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # ragged, or not numbers
        made = np.empty(0)
    if list(made.shape[1:]) != shape or not np.isfinite(made).all():
        raise BadRows(f"column '{name}': send nested arrays of numbers, of the shape {shape}")
    return made


def is_whole(value: float) -> bool:
    """Return whether a number is an integer that float64 represents exactly."""
    return value % 1 == 0 and (abs(value) < EXACT or (abs(value) == EXACT and isinstance(value, int)))


def known(value: Any, column: Declaration, *, nullable: bool) -> Any:
    """Return a value, or None if the column declares it as a null marker.

    Raises:
        BadRows: it is a null marker and the column is not nullable.
    """
    if value is None or not is_null(value, column):
        return value
    if not nullable:
        raise BadRows(f"column '{column.name}': {value!r} means that there is no value; it must have one")
    return None


def seconds(column: Mapping[str, Any], value: str) -> float:
    """Return the seconds since 1970 of a datetime; one with an offset is converted to UTC, as in the training data.

    Raises:
        BadRows: the value is not a datetime.
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
    """Return a converter for values without a JSON type or with null markers; None if the column needs none."""
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
