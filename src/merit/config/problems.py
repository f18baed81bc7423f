"""Faults of configuration, in readable form: the key, what was found, what is allowed, and the likely intention."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from merit.config.schema import Lock
from merit.config.schema.environment import SUCH_AS
from merit.errors import Problem

SHOWN = 200
UNKNOWN = "unknown key"

FILLED_IN = frozenset({"fingerprint", "columns_sha256", "code", "merit"})
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

    def at(self, where: str) -> Problem:
        """Return the problem at a location; a one-line text with allowed values is split into its columns."""
        told = _TOLD.fullmatch(self.found) if not (self.allowed or self.hint) else None
        cells = told.group("found", "allowed", "hint") if told else (self.found, self.allowed, self.hint)
        return Problem(where, ".".join(self.key), *(cell or "" for cell in cells))


_TOLD = re.compile(r"(?P<found>.*?); (?P<hint>did you mean '[^']*'\? )?allowed(?: here)?: (?P<allowed>.*)", re.S)


def unknown_key(key: tuple[str, ...], allowed: Iterable[str]) -> Fault:
    """Return the fault of an unknown key."""
    names = sorted(allowed)
    return Fault(key, UNKNOWN, ", ".join(names) or "none", meant(key[-1], names))


def meant(word: str, allowed: Iterable[str]) -> str:
    """Return a question that suggests the closest allowed name; empty if none is close."""
    close = difflib.get_close_matches(word, sorted(allowed), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return the allowed names, after a suggestion of the closest one."""
    names = sorted(allowed)
    return f"{meant(word, names)} allowed: {', '.join(names) or 'none'}".lstrip()


def from_validation(error: ValidationError, values: Any, form: type[BaseModel] = Lock) -> list[Fault]:
    """Return pydantic's errors as faults, one per key, with the allowed values of all alternatives in it."""
    found: dict[tuple[str, ...], Fault] = {}
    for finding in error.errors(include_url=False):
        if finding["type"] == "value_error" and not finding["loc"]:
            found |= {fault.key: fault for fault in _between_sections(finding["msg"])}
            continue
        fault = _from_finding(dict(finding), values, form)
        former = found.get(fault.key)
        if former is not None and fault.allowed and fault.allowed not in former.allowed.split(" or "):
            fault = Fault(fault.key, former.found, f"{former.allowed} or {fault.allowed}", former.hint)
        found[fault.key] = fault
    return list(found.values())


def _between_sections(message: str) -> Iterator[Fault]:
    """Yield the faults of rules over several sections: one per line, which begins with the key."""
    for line in message.removeprefix("Value error, ").splitlines():
        key, _, text = line.partition(" ")
        yield Fault(tuple(key.split(".")), text)


def _from_finding(finding: Mapping[str, Any], values: Any, form: type[BaseModel]) -> Fault:
    key = key_in(values, finding["loc"], is_there=finding["type"] != "missing")
    if finding["type"] == "extra_forbidden":
        return unknown_key(key, keys_beside(finding["loc"], form))
    if finding["type"] == "missing":
        return Fault(key, "missing", hint="add it")
    if finding["type"] == "value_error":
        return Fault(key, finding["msg"].removeprefix("Value error, "))
    if finding["type"] in {"model_type", "dict_type", "model_attributes_type"}:
        return Fault(key, f"found {shown(finding['input'])}", "keys with values")
    if finding["type"] == "string_pattern_mismatch" and (told := SUCH_AS.get(finding["ctx"]["pattern"])):
        return Fault(key, f"found {shown(finding['input'])}", f"such as {told}")
    allowed = finding["msg"].removeprefix("Input should be ").removesuffix(", got a number with no fractional part")
    return Fault(key, f"found {shown(finding['input'])}", f"{allowed[0].lower()}{allowed[1:]}")


def shown(value: Any) -> str:
    """Return a value as YAML writes it, truncated if it is long."""
    text = (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else repr(value)
    )
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def key_in(values: Any, place: tuple[int | str, ...], *, is_there: bool = True) -> tuple[str, ...]:
    """Return the key of pydantic's location, without the names of union members that pydantic puts into it."""
    key: list[str] = []
    for step, part in enumerate(place):
        inside = isinstance(values, Mapping) and part in values
        if inside or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
        elif is_there or step < len(place) - 1:
            continue
        key.append(str(part))
    return tuple(key)


def keys_beside(place: tuple[int | str, ...], form: type[BaseModel] = Lock) -> list[str]:
    """Return the keys that a model allows beside the one at pydantic's location."""
    models: list[type[BaseModel]] = [form]
    for part in place[:-1]:
        models = step_into(models, part)
    return sorted({name for model in models for name in fields_of(model)} - FILLED_IN)


def step_into(models: list[type[BaseModel]], part: int | str) -> list[type[BaseModel]]:
    """Return the models below a key; a union tag selects its model, and a freely chosen name stays at the models."""
    if under := [field for model in models if (field := fields_of(model).get(str(part))) is not None]:
        return [inner for annotation in under for inner in models_in(annotation)]
    tagged = [model for model in models if any(part in _words(each) for each in fields_of(model).values())]
    return tagged or models


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the keys of a section with their annotations."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that an annotation holds: directly, in a list or mapping, or as members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def _words(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
