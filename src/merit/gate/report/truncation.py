"""Truncates a report to the bounds of its schema; the bounds are read from the schema, so they can't disagree."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from merit.gate.report.escape import ELLIPSIS
from merit.gate.report.schema import MOST_BYTES, Report
from merit.gate.report.sections import MOST_ITEMS, MOST_TEXT

FEWEST_ITEMS = 100
"""Items that every list keeps until shortening texts is no longer enough."""
FEWEST_TEXT = 125
"""Characters that every text keeps."""
CHECKS = "checks"
FEWEST_CHECKS = 1_000
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}

Schema = Mapping[str, Any]


def fit(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report truncated so that the schema accepts it, whatever the data contains.

    Cuts texts, lists and mappings to the bounds of the schema and clamps numbers. NaN and infinity become null; where
    the schema requires a number, the whole item is dropped. Repeats with smaller limits until the file is small enough.

    Raises:
        KeyError: the report has a key that the schema lacks, which is a bug in the code that built the report.
    """
    found: dict[str, Any] = {}
    for items, text, checks in _limits():
        fitter = _Fitter(items, text, checks)
        found = fitter.fitted(report, _schema(), "")
        left_out = {**found.get("left_out", {}), **fitter.left_out}
        found = {**found, "left_out": left_out} if left_out else found
        if len(json.dumps(found, indent=2, ensure_ascii=False).encode()) < MOST_BYTES:  # as it will be written
            break
    return found


def _limits() -> Iterator[tuple[int, int, int]]:
    """Yield decreasing limits for items, characters and checks; checks are cut last, since the verdict needs them."""
    items, text = MOST_ITEMS, MOST_TEXT
    while items > FEWEST_ITEMS:
        yield items, text, MOST_ITEMS
        items //= 2
    while text > FEWEST_TEXT:
        yield FEWEST_ITEMS, text, MOST_ITEMS
        text //= 4
    yield FEWEST_ITEMS, FEWEST_TEXT, FEWEST_CHECKS


@cache
def _schema() -> Schema:
    return Report.model_json_schema(by_alias=True)


class _Unfit(Exception):
    """A NaN or infinity where the schema requires a number."""


class _Fitter:
    """Truncates values to the bounds of the report's schema.

    Args:
        items: maximum items of a list or of a mapping.
        text: maximum characters of a text.
        checks: maximum number of checks.

    Attributes:
        left_out: the number of dropped items by the path of their list.
    """

    def __init__(self, items: int, text: int, checks: int) -> None:
        self._items, self._text, self._checks = items, text, checks
        self.left_out: dict[str, int] = {}

    def fitted(self, value: Any, schema: Schema, place: str) -> Any:
        schema = _chosen(value, schema)
        if isinstance(value, str):
            return _cut(value, min(self._text, schema["maxLength"])) if "maxLength" in schema else value
        if isinstance(value, Mapping):
            fitted = self._section if "properties" in schema else self._names
            return fitted(value, schema, place)
        if isinstance(value, list):
            return self._list(value, schema, place)
        if isinstance(value, float) and not math.isfinite(value):
            raise _Unfit
        return _bounded(value, schema) if isinstance(value, int | float) else value

    def _member(self, value: Any, schema: Schema, place: str) -> Any:
        try:
            return self.fitted(value, schema, place)
        except _Unfit:
            if not _is_nullable(schema):
                raise
            return None

    def _section(self, value: Mapping[str, Any], schema: Schema, place: str) -> dict[str, Any]:
        below = f"{place}." if place else ""
        known = schema["properties"]
        return {name: self._member(inner, known[name], f"{below}{name}") for name, inner in value.items()}

    def _names(self, value: Mapping[str, Any], schema: Schema, place: str) -> dict[str, Any]:
        most = min(self._items, schema["maxProperties"])
        found: dict[str, Any] = {}
        for name, inner in value.items():
            short = _cut(name, MOST_TEXT)  # not self._text: names with the same beginning must stay distinct
            if len(found) == most or short in found:
                continue
            try:
                found[short] = self._member(inner, schema["additionalProperties"], place)
            except _Unfit:
                continue
        self._note(place, len(value) - len(found))
        return found

    def _list(self, value: list[Any], schema: Schema, place: str) -> list[Any]:
        most = self._checks if place == CHECKS else self._items
        found = []
        for inner in _first(value, min(most, schema["maxItems"]), place):
            try:
                found.append(self._member(inner, schema["items"], place))
            except _Unfit:
                continue
        self._note(place, len(value) - len(found))
        return found

    def _note(self, place: str, count: int) -> None:
        if count:
            self.left_out[place] = self.left_out.get(place, 0) + count


def _first(value: list[Any], most: int, place: str) -> list[Any]:
    """Return the items to keep in their original order; checks that did not pass are kept first."""
    if place != CHECKS or len(value) <= most:
        return value[:most]
    passed = [check["verdict"] == "pass" for check in value]
    kept = sorted(sorted(range(len(value)), key=passed.__getitem__)[:most])
    return [value[number] for number in kept]


def _chosen(value: Any, schema: Schema) -> Schema:
    """Resolve `$ref`, and of `anyOf` choose the alternative that matches the type of the value."""
    if "$ref" in schema:
        return _chosen(value, _schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" not in schema:
        return schema
    options = [_chosen(value, each) for each in schema["anyOf"]]
    return next((each for each in options if _is_of(value, each)), options[0])


def _is_of(value: Any, schema: Schema) -> bool:
    # A bool is an int in Python, but not in JSON Schema.
    is_bool = isinstance(value, bool)
    return isinstance(value, TYPES[schema["type"]]) and is_bool == (schema["type"] == "boolean")


def _is_nullable(schema: Schema) -> bool:
    return any(each.get("type") == "null" for each in schema.get("anyOf", ()))


def _bounded(value: float, schema: Schema) -> float:
    """Clamp a number to the bounds of the schema, such as a share that was rounded above 1."""
    least: float = schema.get("minimum", -math.inf)
    most: float = schema.get("maximum", math.inf)
    if schema["type"] == "integer":
        most = schema.get("exclusiveMaximum", math.inf) - 1
    return least if value < least else most if value > most else value


def _cut(text: str, most: int) -> str:
    """Cut a text to a maximum length and replace characters that UTF-8 can't encode, such as lone surrogates."""
    short = text if len(text) <= most else text[: most - 1] + ELLIPSIS
    return short.encode("utf-8", "replace").decode()
