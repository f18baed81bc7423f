"""Describe the keys of the lock, from the docstrings of the schema's fields and of targets' classes."""

import ast
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from merit.config.components import signatures
from merit.config.problems import find_models, get_annotations, step_into
from merit.config.schema import Lock
from merit.config.schema.base import Component

SCHEMA_DEFAULT = "the default of the schema"


def describe_key(lock: Lock, path: tuple[str, ...]) -> str:
    """Return the description of a key of a lock; empty if it has none."""
    value: Any = lock
    models: list[type[BaseModel]] = [Lock]
    meaning = ""
    for part in path:
        if isinstance(value, Component) and part != "_target_":
            return describe_argument(value.target, part)
        known = [type(value)] if isinstance(value, BaseModel) else models
        description = next((said for model in known if (said := describe_field(model, part))), "")
        models = [inner for model in known for inner in find_models(get_annotations(model).get(part))]
        value = _get_inner(value, part)
        meaning = description or (describe_class(type(value)) if isinstance(value, BaseModel) else meaning)
    return meaning


def _get_inner(value: Any, part: str) -> Any:
    if isinstance(value, BaseModel):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        return getattr(value, names[part], None) if part in names else None
    if isinstance(value, dict):
        return value.get(part)
    return value[int(part)] if isinstance(value, list) and part.isdecimal() else None


def describe_default_origin(path: tuple[str, ...]) -> str:
    """Return the origin of the default of a key that no file sets."""
    models: list[type[BaseModel]] = [Lock]
    for part in path[:-1]:
        models = step_into(models, part)
    owners = [model.__name__ for model in models if path[-1] in get_annotations(model)]
    return f"{SCHEMA_DEFAULT} ({owners[0]})" if owners else SCHEMA_DEFAULT


def describe_class(model: type[BaseModel]) -> str:
    """Return the first paragraph of a section's docstring."""
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def describe_field(model: type[BaseModel], name: str) -> str:
    """Return the docstring of a field of the schema, its own or that of a section that it inherits from."""
    attribute = next((key for key, field in model.model_fields.items() if (field.alias or key) == name), name)
    sections = [base for base in model.__mro__ if base.__module__.startswith("merit.")]
    descriptions = (_read_field_docs(base.__module__).get(base.__name__, {}).get(attribute) for base in sections)
    return next((words for words in descriptions if words), "")


@cache
def _read_field_docs(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of all fields of a module, by class; Python doesn't keep them, so the source is parsed."""
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8"))
    return {node.name: dict(_extract_field_docs(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _extract_field_docs(definition: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (field.target.id, " ".join(words.value.value.split()))
        for field, words in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant) and isinstance(words.value.value, str)
    ]


def describe_argument(target: str, name: str) -> str:
    """Return the description of an argument in the docstring of a trusted target's class."""
    if signatures.read_trusted_arguments(target) is None:
        return ""
    return signatures.read_argument_docs(target).get(name, "")
