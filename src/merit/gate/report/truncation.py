"""What makes a report fit its form: cut by the bounds that the form itself states, so that the two can't disagree."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from merit.gate.report.escape import ELLIPSIS
from merit.gate.report.schema import MOST_BYTES, Report
from merit.gate.report.sections import MOST_ITEMS, MOST_TEXT

FEWEST_ITEMS = 100
"""Members that a list keeps however long they are, as long as shorter texts are enough."""
FEWEST_TEXT = 125
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
    """Return a whole report that the form takes whatever the data holds.

    Texts, lists and mappings are cut to the form's bounds and numbers moved into them; a number that is none is null,
    or its member is left out where the form needs one. Then everything is cut further until the file can be read.

    Raises:
        KeyError: the form has no such key, which is a fault of whoever made the report.
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
    """Yield how many members, characters and checks to keep; checks, from which the verdict follows, go last."""
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
    """A number that is none stands where the form needs one."""


class _Fitter:
    """Cuts values by the schema of the form.

    Args:
        items: members that a list or a mapping of names may have.
        text: characters that a text may have.
        checks: checks that there may be.
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
            short = _cut(name, MOST_TEXT)  # not shorter: names that begin alike have to stay apart
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
    """Return the members to keep, in their order; of checks those that did not pass before all others."""
    if place != CHECKS or len(value) <= most:
        return value[:most]
    passed = [check["verdict"] == "pass" for check in value]
    kept = sorted(sorted(range(len(value)), key=passed.__getitem__)[:most])
    return [value[number] for number in kept]


def _chosen(value: Any, schema: Schema) -> Schema:
    """Return the schema that a value falls under: what is referred to, and of alternatives the one of its type."""
    if "$ref" in schema:
        return _chosen(value, _schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" not in schema:
        return schema
    options = [_chosen(value, each) for each in schema["anyOf"]]
    return next((each for each in options if _is_of(value, each)), options[0])


def _is_of(value: Any, schema: Schema) -> bool:
    is_bool = isinstance(value, bool)
    return isinstance(value, TYPES[schema["type"]]) and is_bool == (schema["type"] == "boolean")


def _is_nullable(schema: Schema) -> bool:
    return any(each.get("type") == "null" for each in schema.get("anyOf", ()))


def _bounded(value: float, schema: Schema) -> float:
    """Return a number within the form's bounds: a share that was rounded above 1 is 1."""
    least: float = schema.get("minimum", -math.inf)
    most: float = schema.get("maximum", math.inf)
    if schema["type"] == "integer":
        most = schema.get("exclusiveMaximum", math.inf) - 1
    return least if value < least else most if value > most else value


def _cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, each of which UTF-8 can hold."""
    short = text if len(text) <= most else text[: most - 1] + ELLIPSIS
    return short.encode("utf-8", "replace").decode()
