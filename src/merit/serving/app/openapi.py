"""Describes requests and responses as JSON Schema and as an OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from merit.reading.declaration import MAX_EXACT_INTEGER, build_declaration
from merit.reading.nulls import get_null_values
from merit.scoring.package import Package
from merit.serving.app.feedback import MAX_KEY_COLUMNS, MAX_ROWS, MAX_TEXT_CHARS
from merit.serving.app.served_model import ServedModel
from merit.serving.codec.tables import TABLE_FORMATS

TYPE_SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "minimum": -MAX_EXACT_INTEGER, "maximum": MAX_EXACT_INTEGER},
    # A datetime may have an offset or none, but the format date-time of JSON Schema demands one.
    "datetime": {
        "type": "string",
        "pattern": r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$",
    },
}
"""JSON Schemas of the column types for which the name of a JSON type is not enough."""
ERROR_DESCRIPTIONS = {
    "401": "No key, an unknown one, or one that has expired.",
    "403": "The key does not allow this route.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The content type is not supported, or the body is compressed.",
    "429": "Too many requests of one caller: its quota is used up, or many tables wait; see `retry-after`.",
    "500": "The model failed.",
    "503": "Too many requests are in progress; see `retry-after`.",
    "504": "The request took too long.",
}


def _build_column_schema(column: Mapping[str, Any]) -> dict[str, Any]:
    if column["type"] != "array":
        declaration = build_declaration(column["name"], column)
        null_markers = (
            []
            if column["nullable"]
            else [*(declaration.null_values if column["type"] == "string" else ()), *get_null_values(declaration)]
        )
        excluded = {"not": {"enum": null_markers}} if null_markers and column["type"] != "datetime" else {}
        return {**TYPE_SCHEMAS.get(column["type"], {"type": column["type"]}), **excluded}
    schema: dict[str, Any] = {"type": "number"}
    for size in reversed(column["shape"]):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema


def build_body_schema(package: Package, max_rows: int | None = None) -> dict[str, Any]:
    """Return the JSON Schema of the body of /predict.

    Args:
        package: the package whose signature defines the columns.
        max_rows: maximum rows per request; None means no limit.
    """
    properties = {}
    for column in package.inputs:
        column_schema = _build_column_schema(column)
        if column["nullable"]:
            column_schema = {"anyOf": [column_schema, {"type": "null"}]}
        properties[column["name"]] = column_schema | (
            {"description": column["description"]} if column["description"] else {}
        )
    required = [column["name"] for column in package.inputs if not column["nullable"]]
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    limit = {} if max_rows is None else {"maxItems": max_rows}
    return {
        "anyOf": [row, {"type": "array", "items": row, "minItems": 1, **limit}],
        "examples": [package.signature["example"]],
        "title": "Rows",
    }


def build_response_schema(package: Package) -> dict[str, Any]:
    """Return the JSON Schema of a response of /predict."""
    origin = {name: {"type": "string"} for name in ("model", "version", "commit")}
    number: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
    properties: dict[str, Any] = {"predictions": number, **origin}
    if (classes := package.output.get("classes")) is not None:
        class_labels = {"type": "array", "items": {"enum": classes}}
        probabilities = {"classes": {"const": classes}, "probabilities": {"type": "array", "items": number}}
        properties = {**properties, "predictions": class_labels, **probabilities}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def build_truth_schema(package: Package, max_truths: int) -> dict[str, Any]:
    """Return the JSON Schema of the body of /feedback.

    Args:
        package: the package whose output defines the valid truths.
        max_truths: maximum truths per request.
    """
    kinds: dict[str, dict[str, Any]] = {"binary": {"enum": [0, 1, False, True]}, "regression": {"type": "number"}}
    truth = kinds.get(package.output["task"]) or {"enum": package.output["classes"]}
    text = {"type": "string", "maxLength": MAX_TEXT_CHARS}
    value = {"anyOf": [text, {"type": "number"}, {"type": "boolean"}]}
    columns = {each["name"]: _build_column_schema(each) for each in package.inputs if each["type"] != "array"}
    key = {
        "type": "object",
        "properties": columns,
        "additionalProperties": value,
        "minProperties": 1,
        "maxProperties": MAX_KEY_COLUMNS,
    }
    row = {"type": "integer", "minimum": 0, "maximum": MAX_ROWS - 1}
    item = {
        "anyOf": [
            _build_object_schema(
                {"request_id": {**text, "minLength": 1}, "row": row, "truth": truth}, ["request_id", "truth"]
            ),
            _build_object_schema({"key": key, "truth": truth}, ["key", "truth"]),
        ]
    }
    return {
        "anyOf": [*item["anyOf"], {"type": "array", "items": item, "minItems": 1, "maxItems": max_truths}],
        "title": "Truths",
    }


def _build_object_schema(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def build_document(model: ServedModel, prefix: str = "", *, accepts_feedback: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document of /predict and, if feedback is enabled, /feedback.

    Args:
        model: the served model.
        prefix: path under which the app is mounted.
        accepts_feedback: whether feedback is enabled.
    """
    package, origin = model.package, model.origin
    tables = {kind.decode(): {"schema": {"type": "string", "format": "binary"}} for kind in TABLE_FORMATS}
    predict = {
        "operationId": "predict",
        "summary": "Score one row, an object, or many, an array of objects.",
        "requestBody": {
            "required": True,
            "content": _build_json_content(build_body_schema(package, model.decoder.max_rows)) | tables,
        },
        "responses": {
            "200": {
                "description": "A prediction for each row, in their order.",
                "content": _build_json_content(build_response_schema(package)),
            },
            **_build_error_responses("Every problem of every row."),
        },
    }
    feedback = {
        "operationId": "feedback",
        "summary": "Report the outcome of one prediction, an object, or of many, an array of objects.",
        "requestBody": {
            "required": True,
            "content": _build_json_content(build_truth_schema(package, model.decoder.max_rows)),
        },
        "responses": {
            "202": {
                "description": "The feedback was accepted.",
                "content": _build_json_content(_build_object_schema({"accepted": {"type": "integer"}}, ["accepted"])),
            },
            **_build_error_responses("Every problem of every truth; nothing was stored."),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": origin["model"], "version": origin["version"], "description": _render_description(origin)},
        "servers": [{"url": prefix or "/"}],
        "paths": {"/predict": {"post": predict}, **({"/feedback": {"post": feedback}} if accepts_feedback else {})},
    }


def _render_description(origin: Mapping[str, str]) -> str:
    """Return the description shown above the routes; BentoML's page omits the title."""
    return f"# {origin['model']}\n\nVersion `{origin['version']}`, commit `{origin['commit']}`."


def _build_json_content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _build_error_responses(bad_request: str) -> dict[str, Any]:
    """Return the error responses of a route, given the description of its 400."""
    error = {"error": {"type": "string"}}
    problems = {"problems": {"type": "array", "items": {"type": "string"}}}
    others = {
        status: {
            "description": description,
            "content": _build_json_content({"type": "object", "properties": error, "required": ["error"]}),
        }
        for status, description in ERROR_DESCRIPTIONS.items()
    }
    bad = {"type": "object", "properties": {**error, **problems}, "required": ["error", "problems"]}
    return {"400": {"description": bad_request, "content": _build_json_content(bad)}, **others}
