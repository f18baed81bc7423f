"""Decodes JSON rows: validates them against the package's signature and converts them to the graph's columns."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from merit.reading.nulls import build_null_declaration
from merit.scoring.package import Columns, Package
from merit.serving.app.column_buffer import MAX_BATCH_ROWS, ColumnBuffer
from merit.serving.app.row_values import (
    BODY_ADVICE,
    PYTHON_TYPES,
    BadRows,
    convert_arrays,
    is_whole,
    parse_timestamp,
    resolve_null,
)

MIN_ROW_BYTES = len("{},")
"""Minimum bytes of a row in a body."""
Row = tuple[Any, ...]
"""Values of the number columns, then of the string columns, then of the array columns; None marks a missing value."""


class RowDecoder:
    """Decodes JSON bodies into columns, with msgspec types generated from the signature.

    Args:
        package: the package whose signature defines the columns.
        max_rows: maximum rows per request.

    Attributes:
        max_rows: maximum rows per request.
        number_columns: names of the number columns, including datetimes (in seconds since 1970) and booleans.
        string_columns: names of the string columns.
        array_shapes: names and shapes of the array columns.
    """

    def __init__(self, package: Package, max_rows: int) -> None:
        self._signature_inputs, self.max_rows = package.inputs, max_rows
        grouped_columns = [(_find_group(column, package.graph.inputs), column) for column in package.inputs]
        self._ordered_inputs = [
            column
            for group in ("numbers", "strings", "arrays")
            for column_group, column in grouped_columns
            if column_group == group
        ]
        self.number_columns = [column["name"] for group, column in grouped_columns if group == "numbers"]
        self.string_columns = [column["name"] for group, column in grouped_columns if group == "strings"]
        self.array_shapes = {column["name"]: column["shape"] for group, column in grouped_columns if group == "arrays"}
        converters = [_create_converter(column) for column in self._ordered_inputs]
        self._converters = [(index, converter) for index, converter in enumerate(converters) if converter is not None]
        # Struct fields must be Python identifiers, but columns need not be: fields are c0, c1, ... renamed to columns.
        fields = [_define_field(place, column, PYTHON_TYPES) for place, column in enumerate(self._ordered_inputs)]
        loose_fields = [
            _define_field(place, column, PYTHON_TYPES | {"integer": int | float})
            for place, column in enumerate(self._ordered_inputs)
        ]
        self._integer_fields = [
            f"c{place}" for place, column in enumerate(self._ordered_inputs) if column["type"] == "integer"
        ]
        rename = {f"c{place}": column["name"] for place, column in enumerate(self._ordered_inputs)}
        row_type = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True)
        loose_row_type = msgspec.defstruct(
            "Loose", loose_fields, rename=rename, forbid_unknown_fields=True, kw_only=True
        )
        self._loose_row_decoder = msgspec.json.Decoder(loose_row_type)
        self._loose_rows_decoder = msgspec.json.Decoder(list[loose_row_type])  # type: ignore[valid-type]
        self._row_decoder = msgspec.json.Decoder(row_type)
        self._rows_decoder = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]  # created at run time
        self._raw_rows_decoder = msgspec.json.Decoder(list[msgspec.Raw])

    def create_buffer(self, capacity: int = MAX_BATCH_ROWS) -> ColumnBuffer:
        """Return an empty buffer for `capacity` rows of these columns."""
        return ColumnBuffer(self.number_columns, self.string_columns, self.array_shapes, capacity)

    def decode_columns(self, body: bytes) -> Columns:
        """Decode the columns of a body: one row (an object) or several (an array of objects).

        Raises:
            BadRows: the body is not JSON, a column is unknown, missing or of another type, or there are no rows or too
                many.
        """
        return self.pack_rows(self.decode_rows(body))

    def pack_rows(self, rows: list[Row]) -> Columns:
        """Convert rows to columns."""
        buffer = self.create_buffer(len(rows))
        buffer.append_rows(rows)
        return buffer.take_columns()

    def decode_rows(self, body: bytes) -> list[Row]:
        """Decode the rows of a body, an object or an array of objects.

        Raises:
            BadRows: the body is invalid.
        """
        try:
            return self._decode_or_explain(body)
        except RecursionError as error:
            raise BadRows(f"nested too deeply; {BODY_ADVICE}") from error

    def _decode_or_explain(self, body: bytes) -> list[Row]:
        try:
            return self._convert_rows(self._decode_body(body))
        except msgspec.ValidationError as error:
            return self._decode_leniently(body, str(error))
        except BadRows as error:
            raise self._create_error(body, str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRows(f"not JSON ({str(error).rstrip('.')}); {BODY_ADVICE}") from error

    def _decode_body(self, body: bytes) -> list[Any]:
        if body.lstrip()[:1] != b"[":
            return [self._row_decoder.decode(body)]
        # Count before decoding: a million empty rows are small on the wire and large in memory.
        can_be_many = len(body) > MIN_ROW_BYTES * self.max_rows and _count_braces(body) > self.max_rows
        row_count = len(self._raw_rows_decoder.decode(body)) if can_be_many else 0
        rows = self._rows_decoder.decode(body) if row_count <= self.max_rows else []
        if row_count > self.max_rows:
            raise BadRows(f"found {row_count} rows; at most {self.max_rows} are taken in one request (serve.max_rows)")
        if not rows:
            raise BadRows("the array holds no row; send at least one")
        return rows

    def _decode_leniently(self, body: bytes, first_problem: str) -> list[Row]:
        """Decode rows that write integers as 2.0, which JSON treats like 2; slower, so tried only after an error.

        Raises:
            BadRows: the rows have another problem.
        """
        try:
            rows = (
                self._loose_rows_decoder.decode(body)
                if body.lstrip()[:1] == b"["
                else [self._loose_row_decoder.decode(body)]
            )
            if all(
                is_whole(getattr(row, field)) for row in rows for field in self._integer_fields if getattr(row, field)
            ):
                return self._convert_rows(rows)
        except (msgspec.DecodeError, UnicodeDecodeError, BadRows) as error:
            raise self._create_error(body, first_problem) from error
        raise self._create_error(body, first_problem)

    def _create_error(self, body: bytes, first_problem: str) -> BadRows:
        """Return the error with every problem of every row; msgspec reports only the first."""
        from merit.serving.app.row_errors import ProblemFinder

        problems = ProblemFinder(self._signature_inputs).find_problems(body, self.max_rows)
        if not problems:
            return BadRows(first_problem)
        return BadRows(
            problems[0] if len(problems) == 1 else f"{problems[0]} (and {len(problems) - 1} more, in problems)",
            problems,
        )

    def _convert_rows(self, rows: list[Any]) -> list[Row]:
        """Convert decoded rows to tuples, with datetimes, arrays and null markers converted.

        Raises:
            BadRows: a datetime or an array is invalid.
        """
        tuples = list(map(msgspec.structs.astuple, rows))
        return [self._convert_row(row) for row in tuples] if self._converters else tuples

    def _convert_row(self, row: Row) -> Row:
        values = list(row)
        for index, converter in self._converters:
            values[index] = converter(values[index])
        return tuple(values)


def _count_braces(body: bytes) -> int:
    """Return the number of `{`, an upper bound of the rows; `bytes.count` is ten times slower."""
    return int(np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord("{")))


def _find_group(column: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    if column["type"] == "array":
        return "arrays"
    return "strings" if kinds[column["name"]] == "string" else "numbers"


def _create_converter(column: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return a converter for values without a JSON type or with null markers; None if the column needs none."""
    if column["type"] == "array":
        return lambda value: convert_arrays(column["name"], column["shape"], [value])[0]
    if (declaration := build_null_declaration(column)) is None:
        return None
    nullable = column["nullable"]
    if column["type"] == "datetime":
        return lambda value: _parse_optional_timestamp(resolve_null(value, declaration, nullable=nullable), column)
    return lambda value: resolve_null(value, declaration, nullable=nullable)


def _parse_optional_timestamp(value: str | None, column: Mapping[str, Any]) -> float | None:
    return None if value is None else parse_timestamp(column, value)


def _define_field(index: int, column: Mapping[str, Any], types: Mapping[str, Any]) -> Any:
    kind = types[column["type"]]
    if column["nullable"]:
        return (f"c{index}", kind | None, None)
    return (f"c{index}", kind)
