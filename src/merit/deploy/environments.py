"""conf/environment: what each environment is declared to serve, here and on main."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merit import artifacts, git, safe_yaml
from merit.config import yamlfiles
from merit.config.problems import Fault, did_you_mean, from_validation
from merit.config.schema.environment import Environment
from merit.config.yamlfiles import YamlFile
from merit.errors import ConfigError, MeritError, Problem

FOLDER = artifacts.CONF / "environment"
NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Declared:
    """An environment as its file has it.

    Attributes:
        name: the environment: the file's name.
        file: the file with its lines.
        environment: what it says.
    """

    name: str
    file: YamlFile
    environment: Environment

    def problem(self, key: str, found: str, allowed: str = "", hint: str = "") -> Problem:
        """Return a fault of a key, with the line that sets it."""
        return Fault(tuple(key.split(".")), found, allowed, hint).at(_place(self.file, tuple(key.split("."))))


def names() -> list[str]:
    """Return the environments that there are."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml") if not file.name.startswith("."))


def path(name: str) -> Path:
    """Return the file of an environment.

    Raises:
        MeritError: it is no name of one.
    """
    if not NAME.fullmatch(name):
        raise MeritError(f"'{name}': no name of an environment; small letters, digits and '-' make one")
    return FOLDER / f"{name}.yaml"


def read(name: str, *, is_edited: bool = False) -> Declared:
    """Return what an environment is declared to be.

    Args:
        name: the environment.
        is_edited: whether its version is about to be written, so that it may lack one.

    Raises:
        MeritError: there is none of that name, or it is no plain file.
        ConfigError: its file is wrong; every fault is told, with its line.
    """
    file = path(name)
    if not os.path.lexists(file):
        raise MeritError(f"no environment '{name}': {file} is not there; {did_you_mean(name, names())}")
    # What it leads to may be anybody's, and a fault would show its lines.
    if file.resolve() != artifacts.CONF.resolve() / file.relative_to(artifacts.CONF):
        raise MeritError(f"{file}: found a link; allowed: a plain file; write what it leads to in its place")
    if not file.is_file():
        raise MeritError(f"{file}: found no plain file; remove it, or write one in its place")
    return _declared(name, yamlfiles.read(file), is_edited=is_edited)


def read_all() -> list[Declared]:
    """Return all environments.

    Raises:
        ConfigError: a file is wrong.
    """
    return [read(name) for name in names()]


def _declared(name: str, file: YamlFile, *, is_edited: bool) -> Declared:
    if file.problems:
        raise ConfigError(file.problems)
    values = file.root.plain()
    if file.defaults.value:
        raise ConfigError(
            [Problem(f"{file.path}:{file.defaults.line}", "defaults", "an environment builds on no other")]
        )
    if is_edited:
        values.setdefault("version", None)
    elif values.get("version") is None and not _says_null(file.path):
        values.pop("version", None)
    try:
        return Declared(name, file, Environment.model_validate(values))
    except ValidationError as error:
        faults = [_helped(fault) for fault in from_validation(error, values, Environment)]
        raise ConfigError([fault.at(_place(file, fault.key)) for fault in faults]) from error


def _says_null(path: Path) -> bool:
    """Say whether `version` has a value that somebody wrote: an emptied file or line takes nothing down."""
    root = safe_yaml.compose(path.read_text(encoding="utf-8"))
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return any(key.value == "version" and bool(value.value) for key, value in pairs)


def _helped(fault: Fault) -> Fault:
    """Return a fault with what is allowed, where that is more than the form of the text."""
    if fault.key == ("version",) and fault.found == "missing":
        return replace(fault, allowed="such as v3, or null: nothing runs")
    return fault


def _place(file: YamlFile, key: tuple[str, ...]) -> str:
    """Return the file and the line of a key, or of the last part of it that is there."""
    line = 1
    for depth in range(1, len(key) + 1):
        if (node := file.root.at(key[:depth])) is not None:
            line = node.line
    return f"{file.path}:{line}"


def at(commit: str, name: str) -> Environment | None:
    """Return what an environment was declared to be at a commit; None if not at all, or in a way that can't be read."""
    text = git.show(commit, path(name))
    try:
        values: Any = safe_yaml.load(text or "")
        return Environment.model_validate(values)
    except (yaml.YAMLError, ValidationError):
        return None
