"""Describe the keys of the lock, from the docstrings of the schema's fields and of targets' classes."""

import ast
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from merit.config import signatures
from merit.config.problems import fields_of, models_in, step_into
from merit.config.schema import Lock
from merit.config.schema.base import Component

MERITS = "the default of the schema"


def of_key(lock: Lock, path: tuple[str, ...]) -> str:
    """Return the description of a key of a lock; empty if it has none."""
    value: Any = lock
    models: list[type[BaseModel]] = [Lock]
    meaning = ""
    for part in path:
        if isinstance(value, Component) and part != "_target_":
            return of_argument(value.target, part)
        known = [type(value)] if isinstance(value, BaseModel) else models
        told = next((said for model in known if (said := of_field(model, part))), "")
        models = [inner for model in known for inner in models_in(fields_of(model).get(part))]
        value = _inside(value, part)
        meaning = told or (of_class(type(value)) if isinstance(value, BaseModel) else meaning)
    return meaning


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, BaseModel):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        return getattr(value, names[part], None) if part in names else None
    if isinstance(value, dict):
        return value.get(part)
    return value[int(part)] if isinstance(value, list) and part.isdecimal() else None


def default_of(path: tuple[str, ...]) -> str:
    """Return the origin of the default of a key that no file sets."""
    models: list[type[BaseModel]] = [Lock]
    for part in path[:-1]:
        models = step_into(models, part)
    owners = [model.__name__ for model in models if path[-1] in fields_of(model)]
    return f"{MERITS} ({owners[0]})" if owners else MERITS


def of_class(model: type[BaseModel]) -> str:
    """Return the first paragraph of a section's docstring."""
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def of_field(model: type[BaseModel], name: str) -> str:
    """Return the docstring of a field of the schema, its own or that of a section that it inherits from."""
    attribute = next((key for key, field in model.model_fields.items() if (field.alias or key) == name), name)
    sections = [base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    told = (_fields(base.__module__).get(base.__name__, {}).get(attribute) for base in sections)
    return next((words for words in told if words), "")


@cache
def _fields(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of all fields of a module, by class; Python doesn't keep them, so the source is parsed."""
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8"))
    return {node.name: dict(_told(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _told(definition: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (field.target.id, " ".join(words.value.value.split()))
        for field, words in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant) and isinstance(words.value.value, str)
    ]


def of_argument(target: str, name: str) -> str:
    """Return the description of an argument in the docstring of a trusted target's class."""
    if signatures.trusted_arguments(target) is None:
        return ""
    return signatures.documentation_of(target).get(name, "")
