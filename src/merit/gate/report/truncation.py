"""Truncates a report to the bounds of its schema; the bounds are read from the schema, so they can't disagree."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from merit.gate.report.escape import ELLIPSIS
from merit.gate.report.schema import MAX_REPORT_BYTES, Report
from merit.gate.report.sections import BLOCKING_VERDICTS, MAX_ITEMS, MAX_TEXT_CHARS

MIN_ITEMS = 100
"""Items that every list keeps until shortening texts is no longer enough."""
MIN_TEXT_CHARS = 125
"""Characters that every text keeps."""
CHECKS_PATH = "checks"
MIN_CHECKS = 1_000
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}

Schema = Mapping[str, Any]


def truncate_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report truncated so that the schema accepts it, whatever the data contains.

    Cuts texts, lists and mappings to the bounds of the schema and clamps numbers. NaN and infinity become null; where
    the schema requires a number, the whole item is dropped. Repeats with smaller limits until the file is small enough.

    Raises:
        KeyError: the report has a key that the schema lacks, which is a bug in the code that built the report.
    """
    truncated: dict[str, Any] = {}
    for max_items, max_chars, max_checks in _iter_limits():
        truncator = _Truncator(max_items, max_chars, max_checks)
        truncated = truncator.truncate(report, _load_report_schema(), "")
        left_out = {**truncated.get("left_out", {}), **truncator.left_out}
        truncated = {**truncated, "left_out": left_out} if left_out else truncated
        if (
            len(json.dumps(truncated, indent=2, ensure_ascii=False).encode()) < MAX_REPORT_BYTES
        ):  # as it will be written
            break
    return truncated


def _iter_limits() -> Iterator[tuple[int, int, int]]:
    """Yield decreasing limits for items, characters and checks; checks are cut last, since the verdict needs them."""
    max_items, max_chars = MAX_ITEMS, MAX_TEXT_CHARS
    while max_items > MIN_ITEMS:
        yield max_items, max_chars, MAX_ITEMS
        max_items //= 2
    while max_chars > MIN_TEXT_CHARS:
        yield MIN_ITEMS, max_chars, MAX_ITEMS
        max_chars //= 4
    yield MIN_ITEMS, MIN_TEXT_CHARS, MIN_CHECKS


@cache
def _load_report_schema() -> Schema:
    return Report.model_json_schema(by_alias=True)


class _NonFiniteNumberError(Exception):
    """A NaN or infinity where the schema requires a number."""


class _Truncator:
    """Truncates values to the bounds of the report's schema.

    Args:
        max_items: maximum items of a list or of a mapping.
        max_chars: maximum characters of a text.
        max_checks: maximum number of checks.

    Attributes:
        left_out: the number of dropped items by the path of their list.
    """

    def __init__(self, max_items: int, max_chars: int, max_checks: int) -> None:
        self._max_items, self._max_chars, self._max_checks = max_items, max_chars, max_checks
        self.left_out: dict[str, int] = {}

    def truncate(self, value: Any, schema: Schema, path: str) -> Any:
        schema = _resolve_schema(value, schema)
        if isinstance(value, str):
            return _cut_text(value, min(self._max_chars, schema["maxLength"])) if "maxLength" in schema else value
        if isinstance(value, Mapping):
            truncate_mapping = self._truncate_object if "properties" in schema else self._truncate_mapping
            return truncate_mapping(value, schema, path)
        if isinstance(value, list):
            return self._truncate_list(value, schema, path)
        if isinstance(value, float) and not math.isfinite(value):
            raise _NonFiniteNumberError
        return _clamp_number(value, schema) if isinstance(value, int | float) else value

    def _truncate_member(self, value: Any, schema: Schema, path: str) -> Any:
        try:
            return self.truncate(value, schema, path)
        except _NonFiniteNumberError:
            if not _is_nullable(schema):
                raise
            return None

    def _truncate_object(self, value: Mapping[str, Any], schema: Schema, path: str) -> dict[str, Any]:
        prefix = f"{path}." if path else ""
        properties = schema["properties"]
        return {
            name: self._truncate_member(member, properties[name], f"{prefix}{name}") for name, member in value.items()
        }

    def _truncate_mapping(self, value: Mapping[str, Any], schema: Schema, path: str) -> dict[str, Any]:
        max_items = min(self._max_items, schema["maxProperties"])
        kept_members: dict[str, Any] = {}
        for name, member in value.items():
            short_name = _cut_text(
                name, MAX_TEXT_CHARS
            )  # not self._max_chars: names with the same beginning must stay distinct
            if len(kept_members) == max_items or short_name in kept_members:
                continue
            try:
                kept_members[short_name] = self._truncate_member(member, schema["additionalProperties"], path)
            except _NonFiniteNumberError:
                continue
        self._count_left_out(path, len(value) - len(kept_members))
        return kept_members

    def _truncate_list(self, value: list[Any], schema: Schema, path: str) -> list[Any]:
        max_items = self._max_checks if path == CHECKS_PATH else self._max_items
        kept_items = []
        for item in _select_items(value, min(max_items, schema["maxItems"]), path):
            try:
                kept_items.append(self._truncate_member(item, schema["items"], path))
            except _NonFiniteNumberError:
                continue
        self._count_left_out(path, len(value) - len(kept_items))
        return kept_items

    def _count_left_out(self, path: str, count: int) -> None:
        if count:
            self.left_out[path] = self.left_out.get(path, 0) + count


def _select_items(value: list[Any], max_items: int, path: str) -> list[Any]:
    """Return the items to keep in their original order; checks that did not pass are kept first."""
    if path != CHECKS_PATH or len(value) <= max_items:
        return value[:max_items]
    passed = [check["verdict"] not in BLOCKING_VERDICTS for check in value]
    indexes = sorted(sorted(range(len(value)), key=passed.__getitem__)[:max_items])
    return [value[index] for index in indexes]


def _resolve_schema(value: Any, schema: Schema) -> Schema:
    """Resolve `$ref`, and of `anyOf` choose the alternative that matches the type of the value."""
    if "$ref" in schema:
        return _resolve_schema(value, _load_report_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" not in schema:
        return schema
    options = [_resolve_schema(value, option) for option in schema["anyOf"]]
    return next((each for each in options if _matches_type(value, each)), options[0])


def _matches_type(value: Any, schema: Schema) -> bool:
    # A bool is an int in Python, but not in JSON Schema.
    is_bool = isinstance(value, bool)
    return isinstance(value, PYTHON_TYPES[schema["type"]]) and is_bool == (schema["type"] == "boolean")


def _is_nullable(schema: Schema) -> bool:
    return any(option.get("type") == "null" for option in schema.get("anyOf", ()))


def _clamp_number(value: float, schema: Schema) -> float:
    """Clamp a number to the bounds of the schema, such as a share that was rounded above 1."""
    minimum: float = schema.get("minimum", -math.inf)
    maximum: float = schema.get("maximum", math.inf)
    if schema["type"] == "integer":
        maximum = schema.get("exclusiveMaximum", math.inf) - 1
    return minimum if value < minimum else maximum if value > maximum else value


def _cut_text(text: str, max_chars: int) -> str:
    """Cut a text to a maximum length and replace characters that UTF-8 can't encode, such as lone surrogates."""
    short = text if len(text) <= max_chars else text[: max_chars - 1] + ELLIPSIS
    return short.encode("utf-8", "replace").decode()
