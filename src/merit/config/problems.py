"""Faults of configuration as people read them: where, what was found, what is allowed, what was meant."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
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
    if key[:2] == ("data", "split"):  # pydantic puts the kind of split into the path
        key = (*key[:2], *key[3:])
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
        # A name that the schema leaves free, such as a column's, leads no deeper.
        field = model.model_fields.get(part)
        model = next(iter(_models_in(field.annotation)), model) if field else model
    return [field.alias or name for name, field in model.model_fields.items() if name not in {"fingerprint", "code"}]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def from_hydra(error: Exception) -> str:
    """Return Hydra's or OmegaConf's complaint as one line."""
    if unknown := re.search(r"Could not override '([^']+)'", str(error)):
        fault = unknown_key(tuple(unknown[1].split(".")), _allowed_beside(tuple(unknown[1].split("."))))
        return f"command line: {unknown[1]}: {fault.text}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "Config search path", "provider="))
    ]
    message = "conf: " + " ".join(kept)
    if "group override must be" in message:
        return f"{message}; give each group the name of one of its files, such as model=linear"
    return message


@dataclass(frozen=True)
class Places:
    """Where keys stand: on the command line, or in a file of conf/.

    Attributes:
        conf: the folder.
        choices: the file chosen in each group.
        overrides: what the command line sets.
    """

    conf: Path
    choices: Mapping[str, str]
    overrides: Sequence[str]

    def located(self, fault: Fault) -> str:
        """Return the fault as a line that begins with where its key stands."""
        name = ".".join(fault.key)
        if not name:
            return fault.text
        if self._is_overridden(name):
            return f"command line: {name}: {fault.text}"
        candidates = [*self._experiment(fault.key), *self._chosen(fault.key), (self.conf / "config.yaml", fault.key)]
        for file, path in candidates:
            if line := _line_of(file, path):
                return f"{file}:{line}: {name}: {fault.text}"
        return f"{candidates[0][0]}: {name}: {fault.text}"

    def _is_overridden(self, name: str) -> bool:
        keys = [override.lstrip("+~").partition("=")[0] for override in self.overrides]
        return any(key not in self.choices and f"{name}.".startswith(f"{key}.") for key in keys)

    def _experiment(self, key: tuple[str, ...]) -> list[tuple[Path, tuple[str, ...]]]:
        """Return the experiment's file, which may set any key, if it sets this one."""
        file = self.conf / "experiment" / f"{self.choices.get('experiment')}.yaml"
        return [(file, key)] if _line_of(file, key) else []

    def _chosen(self, key: tuple[str, ...]) -> list[tuple[Path, tuple[str, ...]]]:
        """Return the files that may set a key of a group: the chosen one, then those it builds on."""
        group = key[0]
        if group not in self.choices:
            return []
        files = [self.conf / group / f"{self.choices[group]}.yaml"]
        for file in files:
            built_on = _defaults_of(file)
            files += [found for name in built_on if (found := file.with_name(f"{name}.yaml")) not in files]
        return [(file, key[1:]) for file in files]


def _defaults_of(file: Path) -> list[str]:
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    listed = content.get("defaults", []) if isinstance(content, dict) else []
    return [name for name in listed if isinstance(name, str) and name != "_self_"]


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
