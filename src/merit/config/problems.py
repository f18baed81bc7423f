"""Faults of configuration as people read them: where, what was found, what is allowed, what was meant."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from merit.config.schema import Lock


@dataclass(frozen=True)
class Fault:
    """One fault: the path of the key, and what is wrong with it."""

    key: tuple[str, ...]
    text: str


def unknown_key(key: tuple[str, ...], allowed: Iterable[str]) -> Fault:
    """Return the fault of a key that nobody knows."""
    return Fault(key, f"unknown key; {did_you_mean(key[-1], allowed)}")


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return what is allowed, led by what was probably meant."""
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"{meant}allowed: {', '.join(names) or 'none'}"


def from_validation(error: ValidationError) -> list[Fault]:
    """Return pydantic's findings as faults."""
    return [_from_finding(dict(finding)) for finding in error.errors(include_url=False)]


def _from_finding(finding: Mapping[str, Any]) -> Fault:
    key = tuple(str(part) for part in finding["loc"])
    if finding["type"] == "extra_forbidden":
        return unknown_key(key, _allowed_beside(key))
    if finding["type"] == "missing":
        return Fault(key, "missing; add it")
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "value_error":
        return Fault(key, message)
    return Fault(key, f"found {finding['input']!r}: {message[0].lower()}{message[1:]}")


def _allowed_beside(key: tuple[str, ...]) -> list[str]:
    """Return the keys that the schema knows beside `key`, by walking down from the lock."""
    model: type[BaseModel] = Lock
    for part in key[:-1]:
        field = model.model_fields.get(part)
        inner = [] if field is None else _models_in(field.annotation)
        if inner:
            model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items() if name != "fingerprint"]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def from_hydra(error: Exception) -> str:
    """Return Hydra's or OmegaConf's complaint as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "Config search path", "provider="))
    ]
    return "conf: " + " ".join(kept)


def located(fault: Fault, conf: Path, choices: Mapping[str, str]) -> str:
    """Return the fault as a line that begins with the file and line where its key stands, if it stands in one."""
    name = ".".join(fault.key)
    group = fault.key[0] if fault.key else ""
    chosen = [(conf / group / f"{choices[group]}.yaml", fault.key[1:])] if group in choices else []
    for file, path in [*chosen, (conf / "config.yaml", fault.key)]:
        line = _line_of(file, path)
        if line:
            return f"{file}:{line}: {name}: {fault.text}"
    return f"{chosen[0][0] if chosen else conf / 'config.yaml'}: {name}: {fault.text}" if name else fault.text


def _line_of(file: Path, path: tuple[str, ...]) -> int | None:
    if not file.is_file():
        return None
    node, line = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), None
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next(((k, v) for k, v in node.value if k.value == part), None)
        if pair is None:
            return None
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
