"""What may be asked and what is answered, as JSON Schema and as an OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from merit.scoring import Package
from merit.serving.answers import Answers
from merit.serving.tables import FORMS

SCHEMAS: dict[str, dict[str, Any]] = {
    # A clock without a zone, which is not what the format date-time of JSON Schema is.
    "datetime": {
        "type": "string",
        "pattern": r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$",
    },
}
"""The JSON Schema of the types that JSON doesn't have."""
REFUSALS = {
    "401": "No key, an unknown one, or one that has expired.",
    "403": "The key is not for this.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is of a type that is not read.",
    "429": "The key's quota is used up; `retry-after` says when to come again.",
    "500": "The model failed.",
    "503": "Too much is in hand; `retry-after` says when to come again.",
    "504": "It took too long.",
}


def _schema(column: Mapping[str, Any]) -> dict[str, Any]:
    if column["type"] != "array":
        return dict(SCHEMAS.get(column["type"], {"type": column["type"]}))
    made: dict[str, Any] = {"type": "number"}
    for size in reversed(column["shape"]):
        made = {"type": "array", "items": made, "minItems": size, "maxItems": size}
    return made


def body_schema(package: Package, max_rows: int | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a request's body.

    Args:
        package: whose signature says which columns there are.
        max_rows: rows that one request may have.
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
    """Return the JSON Schema of an answer."""
    origin = {name: {"type": "string"} for name in ("model", "version", "commit")}
    number: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
    properties: dict[str, Any] = {"predictions": number, **origin}
    if (classes := package.output.get("classes")) is not None:
        likeliest = {"type": "array", "items": {"enum": classes}}
        every = {"classes": {"const": classes}, "probabilities": {"type": "array", "items": number}}
        properties = {**properties, "predictions": likeliest, **every}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def document(answers: Answers, prefix: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of /predict.

    Args:
        answers: the model.
        prefix: where it is mounted.
    """
    package = answers.package
    tables = {kind.decode(): {"schema": {"type": "string", "format": "binary"}} for kind in FORMS}
    error: dict[str, Any] = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    listed = {"problems": {"type": "array", "items": {"type": "string"}}}
    bad = {**error, "properties": {**error["properties"], **listed}, "required": ["error", "problems"]}
    refusals = {
        status: {"description": told, "content": {"application/json": {"schema": error}}}
        for status, told in REFUSALS.items()
    }
    wrong = {"description": "Every problem of every row.", "content": {"application/json": {"schema": bad}}}
    good = {"application/json": {"schema": answer_schema(package)}}
    predict = {
        "operationId": "predict",
        "summary": "Score one row, an object, or many, an array of objects.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body_schema(package, answers.rows.most)}, **tables},
        },
        "responses": {
            "200": {"description": "A prediction for each row, in their order.", "content": good},
            "400": wrong,
            **refusals,
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": package.manifest["model"], "version": answers.origin["version"]},
        "servers": [{"url": prefix or "/"}],
        "paths": {"/predict": {"post": predict}},
    }
