"""Describes requests and responses as JSON Schema and as an OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from merit.reading.declaration import EXACT, declared
from merit.reading.nulls import null_cells
from merit.scoring.package import Package
from merit.serving.app.answers import Answers
from merit.serving.app.feedback import KEYS, LONGEST, ROWS
from merit.serving.codec.tables import FORMS

SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "minimum": -EXACT, "maximum": EXACT},
    # A datetime may have an offset or none, but the format date-time of JSON Schema demands one.
    "datetime": {
        "type": "string",
        "pattern": r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$",
    },
}
"""JSON Schemas of the column types for which the name of a JSON type is not enough."""
REFUSALS = {
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


def _schema(column: Mapping[str, Any]) -> dict[str, Any]:
    if column["type"] != "array":
        declaration = declared(column["name"], column)
        refused = (
            []
            if column["nullable"]
            else [*(declaration.null_values if column["type"] == "string" else ()), *null_cells(declaration)]
        )
        excluded = {"not": {"enum": refused}} if refused and column["type"] != "datetime" else {}
        return {**SCHEMAS.get(column["type"], {"type": column["type"]}), **excluded}
    made: dict[str, Any] = {"type": "number"}
    for size in reversed(column["shape"]):
        made = {"type": "array", "items": made, "minItems": size, "maxItems": size}
    return made


def body_schema(package: Package, max_rows: int | None = None) -> dict[str, Any]:
    """Return the JSON Schema of the body of /predict.

    Args:
        package: the package whose signature defines the columns.
        max_rows: maximum rows per request; None means no limit.
    """
    properties = {}
    for column in package.inputs:
        one = _schema(column)
        if column["nullable"]:
            one = {"anyOf": [one, {"type": "null"}]}
        properties[column["name"]] = one | ({"description": column["description"]} if column["description"] else {})
    required = [column["name"] for column in package.inputs if not column["nullable"]]
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    most = {} if max_rows is None else {"maxItems": max_rows}
    return {
        "anyOf": [row, {"type": "array", "items": row, "minItems": 1, **most}],
        "examples": [package.signature["example"]],
        "title": "Rows",
    }


def answer_schema(package: Package) -> dict[str, Any]:
    """Return the JSON Schema of a response of /predict."""
    origin = {name: {"type": "string"} for name in ("model", "version", "commit")}
    number: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
    properties: dict[str, Any] = {"predictions": number, **origin}
    if (classes := package.output.get("classes")) is not None:
        likeliest = {"type": "array", "items": {"enum": classes}}
        every = {"classes": {"const": classes}, "probabilities": {"type": "array", "items": number}}
        properties = {**properties, "predictions": likeliest, **every}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def truth_schema(package: Package, most: int) -> dict[str, Any]:
    """Return the JSON Schema of the body of /feedback.

    Args:
        package: the package whose output defines the valid truths.
        most: maximum truths per request.
    """
    kinds: dict[str, dict[str, Any]] = {"binary": {"enum": [0, 1, False, True]}, "regression": {"type": "number"}}
    truth = kinds.get(package.output["task"]) or {"enum": package.output["classes"]}
    text = {"type": "string", "maxLength": LONGEST}
    value = {"anyOf": [text, {"type": "number"}, {"type": "boolean"}]}
    columns = {each["name"]: _schema(each) for each in package.inputs if each["type"] != "array"}
    key = {
        "type": "object",
        "properties": columns,
        "additionalProperties": value,
        "minProperties": 1,
        "maxProperties": KEYS,
    }
    row = {"type": "integer", "minimum": 0, "maximum": ROWS - 1}
    one = {
        "anyOf": [
            _object({"request_id": {**text, "minLength": 1}, "row": row, "truth": truth}, ["request_id", "truth"]),
            _object({"key": key, "truth": truth}, ["key", "truth"]),
        ]
    }
    return {
        "anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1, "maxItems": most}],
        "title": "Truths",
    }


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def document(answers: Answers, prefix: str = "", *, keeps_truth: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document of /predict and, if feedback is enabled, /feedback.

    Args:
        answers: the served model.
        prefix: path under which the app is mounted.
        keeps_truth: whether feedback is enabled.
    """
    package, origin = answers.package, answers.origin
    tables = {kind.decode(): {"schema": {"type": "string", "format": "binary"}} for kind in FORMS}
    predict = {
        "operationId": "predict",
        "summary": "Score one row, an object, or many, an array of objects.",
        "requestBody": {"required": True, "content": _json(body_schema(package, answers.rows.most)) | tables},
        "responses": {
            "200": {
                "description": "A prediction for each row, in their order.",
                "content": _json(answer_schema(package)),
            },
            **_refusals("Every problem of every row."),
        },
    }
    learn = {
        "operationId": "feedback",
        "summary": "Report the outcome of one prediction, an object, or of many, an array of objects.",
        "requestBody": {"required": True, "content": _json(truth_schema(package, answers.rows.most))},
        "responses": {
            "202": {
                "description": "The feedback was accepted.",
                "content": _json(_object({"accepted": {"type": "integer"}}, ["accepted"])),
            },
            **_refusals("Every problem of every truth; nothing was stored."),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": origin["model"], "version": origin["version"], "description": _told(origin)},
        "servers": [{"url": prefix or "/"}],
        "paths": {"/predict": {"post": predict}, **({"/feedback": {"post": learn}} if keeps_truth else {})},
    }


def _told(origin: Mapping[str, str]) -> str:
    """Return the description shown above the routes; BentoML's page omits the title."""
    return f"# {origin['model']}\n\nVersion `{origin['version']}`, commit `{origin['commit']}`."


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _refusals(wrong: str) -> dict[str, Any]:
    """Return the error responses of a route, given the description of its 400."""
    error = {"error": {"type": "string"}}
    listed = {"problems": {"type": "array", "items": {"type": "string"}}}
    others = {
        status: {"description": told, "content": _json({"type": "object", "properties": error, "required": ["error"]})}
        for status, told in REFUSALS.items()
    }
    bad = {"type": "object", "properties": {**error, **listed}, "required": ["error", "problems"]}
    return {"400": {"description": wrong, "content": _json(bad)}, **others}
