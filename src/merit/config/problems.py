"""Faults of configuration, in readable form: the key, what was found, what is allowed, and the likely intention."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from merit.config.schema import Lock
from merit.config.schema.environment import PATTERN_EXAMPLES
from merit.errors import Problem

MAX_SHOWN_LENGTH = 200
UNKNOWN_KEY = "unknown key"

COMPOSED_KEYS = frozenset({"fingerprint", "columns_sha256", "code", "merit"})
"""Keys of the lock that compose fills in; error messages never suggest them."""


@dataclass(frozen=True)
class Fault:
    """One fault: the path of the key, what was found, what is allowed, and a hint."""

    key: tuple[str, ...]
    found: str
    allowed: str = ""
    hint: str = ""

    @property
    def text(self) -> str:
        """The fault in one line, without its key."""
        return str(Problem("", "", self.found, self.allowed, self.hint))

    def to_problem(self, where: str) -> Problem:
        """Return the problem at a location; a one-line text with allowed values is split into its columns."""
        match = _ONE_LINE_FAULT.fullmatch(self.found) if not (self.allowed or self.hint) else None
        cells = match.group("found", "allowed", "hint") if match else (self.found, self.allowed, self.hint)
        return Problem(where, ".".join(self.key), *(cell or "" for cell in cells))


_ONE_LINE_FAULT = re.compile(
    r"(?P<found>.*?); (?P<hint>did you mean '[^']*'\? )?allowed(?: here)?: (?P<allowed>.*)", re.S
)


def make_unknown_key_fault(key: tuple[str, ...], allowed: Iterable[str]) -> Fault:
    """Return the fault of an unknown key."""
    names = sorted(allowed)
    return Fault(key, UNKNOWN_KEY, ", ".join(names) or "none", suggest_name(key[-1], names))


def suggest_name(name: str, allowed: Iterable[str]) -> str:
    """Return a question that suggests the closest allowed name; empty if none is close."""
    close = difflib.get_close_matches(name, sorted(allowed), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def suggest_allowed(name: str, allowed: Iterable[str]) -> str:
    """Return the allowed names, after a suggestion of the closest one."""
    names = sorted(allowed)
    return f"{suggest_name(name, names)} allowed: {', '.join(names) or 'none'}".lstrip()


def convert_validation_error(error: ValidationError, values: Any, model: type[BaseModel] = Lock) -> list[Fault]:
    """Return pydantic's errors as faults, one per key, with the allowed values of all alternatives in it."""
    fault_by_key: dict[tuple[str, ...], Fault] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "value_error" and not detail["loc"]:
            fault_by_key |= {fault.key: fault for fault in _split_section_faults(detail["msg"])}
            continue
        fault = _convert_detail(dict(detail), values, model)
        previous = fault_by_key.get(fault.key)
        if previous is not None and fault.allowed and fault.allowed not in previous.allowed.split(" or "):
            fault = Fault(fault.key, previous.found, f"{previous.allowed} or {fault.allowed}", previous.hint)
        fault_by_key[fault.key] = fault
    return list(fault_by_key.values())


def _split_section_faults(message: str) -> Iterator[Fault]:
    """Yield the faults of rules over several sections: one per line, which begins with the key."""
    for line in message.removeprefix("Value error, ").splitlines():
        key, _, text = line.partition(" ")
        yield Fault(tuple(key.split(".")), text)


def _convert_detail(detail: Mapping[str, Any], values: Any, model: type[BaseModel]) -> Fault:
    key = find_key(values, detail["loc"], is_there=detail["type"] != "missing")
    if detail["type"] == "extra_forbidden":
        return make_unknown_key_fault(key, list_sibling_keys(detail["loc"], model))
    if detail["type"] == "missing":
        return Fault(key, "missing", hint="add it")
    if detail["type"] == "value_error":
        return Fault(key, detail["msg"].removeprefix("Value error, "))
    if detail["type"] in {"model_type", "dict_type", "model_attributes_type"}:
        return Fault(key, f"found {format_value(detail['input'])}", "keys with values")
    if detail["type"] == "string_pattern_mismatch" and (example := PATTERN_EXAMPLES.get(detail["ctx"]["pattern"])):
        return Fault(key, f"found {format_value(detail['input'])}", f"such as {example}")
    allowed = detail["msg"].removeprefix("Input should be ").removesuffix(", got a number with no fractional part")
    return Fault(key, f"found {format_value(detail['input'])}", f"{allowed[0].lower()}{allowed[1:]}")


def format_value(value: Any) -> str:
    """Return a value as YAML writes it, truncated if it is long."""
    text = (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else repr(value)
    )
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}..."


def find_key(values: Any, location: tuple[int | str, ...], *, is_there: bool = True) -> tuple[str, ...]:
    """Return the key of pydantic's location, without the names of union members that pydantic puts into it."""
    key: list[str] = []
    for step, part in enumerate(location):
        inside = isinstance(values, Mapping) and part in values
        if inside or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
        elif is_there or step < len(location) - 1:
            continue
        key.append(str(part))
    return tuple(key)


def list_sibling_keys(location: tuple[int | str, ...], root_model: type[BaseModel] = Lock) -> list[str]:
    """Return the keys that a model allows beside the one at pydantic's location."""
    models: list[type[BaseModel]] = [root_model]
    for part in location[:-1]:
        models = step_into(models, part)
    return sorted({name for model in models for name in get_annotations(model)} - COMPOSED_KEYS)


def step_into(models: list[type[BaseModel]], part: int | str) -> list[type[BaseModel]]:
    """Return the models below a key; a union tag selects its model, and a freely chosen name stays at the models."""
    if annotations := [field for model in models if (field := get_annotations(model).get(str(part))) is not None]:
        return [inner for annotation in annotations for inner in find_models(annotation)]
    tagged = [model for model in models if any(part in _get_literals(each) for each in get_annotations(model).values())]
    return tagged or models


def get_annotations(model: type[BaseModel]) -> dict[str, Any]:
    """Return the keys of a section with their annotations."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def find_models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that an annotation holds: directly, in a list or mapping, or as members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in find_models(inner)]


def _get_literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
