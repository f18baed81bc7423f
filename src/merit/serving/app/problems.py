"""Finds all problems in the rows of a rejected request, row by row and column by column."""

import difflib
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from merit.reading.nulls import nulls_of
from merit.serving.app.rows import FORM, TYPES, BadRows, array_of, is_whole, known, number_of, seconds

MOST = 100
"""Maximum problems reported per request."""
SHOWN = 60
"""Maximum characters of an unknown column's name in an error message."""


class Problems:
    """Finds the problems of rows; used only after decoding has failed, because msgspec stops at the first problem.

    Args:
        inputs: the input columns of the package's signature.
    """

    def __init__(self, inputs: Sequence[dict[str, Any]]) -> None:
        self._names = [each["name"] for each in inputs]
        self._required = [each["name"] for each in inputs if not each["nullable"]]
        self._columns = {each["name"]: each for each in inputs}
        self._decoders = {each["name"]: msgspec.json.Decoder(_kind(each)) for each in inputs}
        self._row = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._values = sum(math.prod(each.get("shape", ())) for each in inputs)
        """Number of scalar values in a row."""

    def of(self, body: bytes, most: int) -> list[str]:
        """Return the problems of a body; none if it is not JSON, or is an array of too many rows.

        An array with more values than the maximum number of rows can have is not examined: that would delay other
        requests.
        """
        try:
            if body.lstrip()[:1] != b"[":
                return list(islice(self._of_row(body, ""), MOST))
            if body.count(b",") > most * (self._values + 1):
                return []
            rows = msgspec.json.decode(body, type=list[msgspec.Raw])
            if len(rows) > most:
                return []
            every = (problem for place, row in enumerate(rows) for problem in self._of_row(row, f"row {place}: "))
            return list(islice(every, MOST))
        except (msgspec.DecodeError, UnicodeDecodeError):  # also from invalid column names, decoded only here
            return []

    def _of_row(self, row: bytes | msgspec.Raw, where: str) -> Iterator[str]:
        try:
            values = self._row.decode(row)
        except msgspec.ValidationError as error:
            yield f"{where}{error}; {FORM}"
            return
        for name in values:
            if name not in self._columns:
                yield where + self._unknown(name)
        for name in self._names:
            if name in values and (problem := self._of_value(name, values[name])):
                yield where + problem
        if missing := [f"'{name}'" for name in self._required if name not in values]:
            told = f"column {missing[0]} is" if len(missing) == 1 else f"columns {', '.join(missing)} are"
            yield f"{where}the {told} missing; required: {', '.join(self._required)}"

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name[:SHOWN], self._names, n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        shown = name if len(name) <= SHOWN else name[:SHOWN] + "..."
        return f"unknown column {shown!r}; {meant}columns: {', '.join(self._names)}"

    def _of_value(self, name: str, raw: msgspec.Raw) -> str:
        column = self._columns[name]
        try:
            value = self._decoders[name].decode(raw)
            if (declaration := nulls_of(column)) is not None:
                value = known(value, declaration, nullable=column["nullable"])
            if value is None:
                return ""
            if column["type"] == "array":
                array_of(name, column["shape"], [value])
            elif column["type"] == "datetime":
                seconds(column, value)
            elif column["type"] != "string":
                number_of(name, [value])
                if column["type"] == "integer" and not is_whole(value):
                    what = (
                        "Expected `int`, got `float`"
                        if value % 1
                        else "is beyond 2**53, from where on integers are not exact"
                    )
                    return f"column '{name}': {what}"
        except BadRows as error:
            return str(error)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            told = str(error).partition(" - at `")[0]
            return f"column '{name}': {told.replace('int | float', 'int') if column['type'] == 'integer' else told}"
        return ""


def _kind(column: dict[str, Any]) -> Any:
    kind = int | float if column["type"] == "integer" else TYPES[column["type"]]
    return kind | None if column["nullable"] else kind
