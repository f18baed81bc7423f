"""Finds all problems in the rows of a rejected request, row by row and column by column."""

import difflib
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from merit.reading.nulls import build_null_declaration
from merit.serving.app.row_values import (
    BODY_ADVICE,
    PYTHON_TYPES,
    BadRows,
    convert_arrays,
    is_whole,
    parse_timestamp,
    resolve_null,
)

MAX_PROBLEMS = 100
"""Maximum problems reported per request."""
MAX_DISPLAYED_CHARS = 60
"""Maximum characters of an unknown column's name in an error message."""


class ProblemFinder:
    """Finds the problems of rows; used only after decoding has failed, because msgspec stops at the first problem.

    Args:
        inputs: the input columns of the package's signature.
    """

    def __init__(self, inputs: Sequence[dict[str, Any]]) -> None:
        self._names = [each["name"] for each in inputs]
        self._required = [each["name"] for each in inputs if not each["nullable"]]
        self._columns = {each["name"]: each for each in inputs}
        self._decoders = {each["name"]: msgspec.json.Decoder(_build_type(each)) for each in inputs}
        self._row_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._values_per_row = sum(math.prod(each.get("shape", ())) for each in inputs)
        """Number of scalar values in a row."""

    def find_problems(self, body: bytes, max_rows: int) -> list[str]:
        """Return the problems of a body; none if it is not JSON, or is an array of too many rows.

        An array with more values than the maximum number of rows can have is not examined: that would delay other
        requests.
        """
        try:
            if body.lstrip()[:1] != b"[":
                return list(islice(self._find_row_problems(body, ""), MAX_PROBLEMS))
            if body.count(b",") > max_rows * (self._values_per_row + 1):
                return []
            rows = msgspec.json.decode(body, type=list[msgspec.Raw])
            if len(rows) > max_rows:
                return []
            problems = (
                problem for index, row in enumerate(rows) for problem in self._find_row_problems(row, f"row {index}: ")
            )
            return list(islice(problems, MAX_PROBLEMS))
        except (msgspec.DecodeError, UnicodeDecodeError):  # also from invalid column names, decoded only here
            return []

    def _find_row_problems(self, row: bytes | msgspec.Raw, prefix: str) -> Iterator[str]:
        try:
            values = self._row_decoder.decode(row)
        except msgspec.ValidationError as error:
            yield f"{prefix}{error}; {BODY_ADVICE}"
            return
        for name in values:
            if name not in self._columns:
                yield prefix + self._describe_unknown(name)
        for name in self._names:
            if name in values and (problem := self._find_value_problem(name, values[name])):
                yield prefix + problem
        if missing := [f"'{name}'" for name in self._required if name not in values]:
            subject = f"column {missing[0]} is" if len(missing) == 1 else f"columns {', '.join(missing)} are"
            yield f"{prefix}the {subject} missing; required: {', '.join(self._required)}"

    def _describe_unknown(self, name: str) -> str:
        matches = difflib.get_close_matches(name[:MAX_DISPLAYED_CHARS], self._names, n=1)
        suggestion = f"did you mean '{matches[0]}'? " if matches else ""
        displayed = name if len(name) <= MAX_DISPLAYED_CHARS else name[:MAX_DISPLAYED_CHARS] + "..."
        return f"unknown column {displayed!r}; {suggestion}columns: {', '.join(self._names)}"

    def _find_value_problem(self, name: str, raw: msgspec.Raw) -> str:
        column = self._columns[name]
        try:
            value = self._decoders[name].decode(raw)
            if (declaration := build_null_declaration(column)) is not None:
                value = resolve_null(value, declaration, nullable=column["nullable"])
            if value is None:
                return ""
            if column["type"] == "array":
                convert_arrays(name, column["shape"], [value])
            elif column["type"] == "datetime":
                parse_timestamp(column, value)
            elif column["type"] == "integer" and not is_whole(value):
                problem = (
                    "Expected `int`, got `float`"
                    if value % 1
                    else "is beyond 2**53, from where on integers are not exact"
                )
                return f"column '{name}': {problem}"
        except BadRows as error:
            return str(error)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = str(error).partition(" - at `")[0]
            return (
                f"column '{name}': {message.replace('int | float', 'int') if column['type'] == 'integer' else message}"
            )
        return ""


def _build_type(column: dict[str, Any]) -> Any:
    kind = int | float if column["type"] == "integer" else PYTHON_TYPES[column["type"]]
    return kind | None if column["nullable"] else kind
