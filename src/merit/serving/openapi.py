"""What a request may look like, in JSON Schema."""

from collections.abc import Mapping
from typing import Any

from merit.scoring import Package

SCHEMAS: dict[str, dict[str, Any]] = {
    "datetime": {"type": "string", "format": "date-time"},
}
"""The JSON Schema of the types that JSON doesn't have."""


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
