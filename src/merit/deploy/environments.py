"""Reads the environment files in conf/environment, from the working tree or from a commit."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merit import artifacts, git, safe_yaml
from merit.config.composition import yaml_files
from merit.config.composition.yaml_files import YamlFile
from merit.config.problems import Fault, convert_validation_error, suggest_allowed
from merit.config.schema.environment import Environment
from merit.errors import ConfigError, MeritError, Problem

ENVIRONMENTS_FOLDER = artifacts.CONF / "environment"
NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class DeclaredEnvironment:
    """An environment as its file declares it.

    Attributes:
        name: the environment's name: the file's name without its suffix.
        file: the parsed file with line numbers.
        environment: the validated content.
    """

    name: str
    file: YamlFile
    environment: Environment

    def build_problem(self, key: str, found: str, allowed: str = "", hint: str = "") -> Problem:
        """Return a problem with a key such as `local.port`, located at the line that sets it."""
        return Fault(tuple(key.split(".")), found, allowed, hint).to_problem(
            _locate_key(self.file, tuple(key.split(".")))
        )


def list_names() -> list[str]:
    """Return the names of all environments, sorted."""
    return sorted(file.stem for file in ENVIRONMENTS_FOLDER.glob("*.yaml") if not file.name.startswith("."))


def get_path(name: str) -> Path:
    """Return the path of an environment's file.

    Raises:
        MeritError: the name is invalid.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise MeritError(f"'{name}': no name of an environment; small letters, digits and '-' make one")
    return ENVIRONMENTS_FOLDER / f"{name}.yaml"


def read_environment(name: str, *, is_edited: bool = False) -> DeclaredEnvironment:
    """Read and validate an environment's file.

    Args:
        name: the environment.
        is_edited: whether the caller is about to write the version, so that the file may lack it.

    Raises:
        MeritError: there is no such environment, or its file is not a plain file.
        ConfigError: the file is invalid; lists every problem with its line.
    """
    file = get_path(name)
    if not os.path.lexists(file):
        raise MeritError(f"no environment '{name}': {file} is not there; {suggest_allowed(name, list_names())}")
    # A link can point to any file of the machine, and an error message would print that file's lines.
    if file.resolve() != artifacts.CONF.resolve() / file.relative_to(artifacts.CONF):
        raise MeritError(f"{file}: found a link; allowed: a plain file; write what it leads to in its place")
    if not file.is_file():
        raise MeritError(f"{file}: found no plain file; remove it, or write one in its place")
    return _validate_file(name, yaml_files.read_file(file), is_edited=is_edited)


def read_all() -> list[DeclaredEnvironment]:
    """Read and validate all environments.

    Raises:
        ConfigError: a file is invalid.
    """
    return [read_environment(name) for name in list_names()]


def _validate_file(name: str, file: YamlFile, *, is_edited: bool) -> DeclaredEnvironment:
    if file.problems:
        raise ConfigError(file.problems)
    values = file.root.to_plain()
    if file.defaults.value:
        raise ConfigError(
            [Problem(f"{file.path}:{file.defaults.line}", "defaults", "an environment's file can't have defaults")]
        )
    if is_edited:
        values.setdefault("version", None)
    elif values.get("version") is None and not _has_explicit_null(file.path):
        values.pop("version", None)
    try:
        return DeclaredEnvironment(name, file, Environment.model_validate(values))
    except ValidationError as error:
        faults = [_add_hint(fault) for fault in convert_validation_error(error, values, Environment)]
        raise ConfigError([fault.to_problem(_locate_key(file, fault.key)) for fault in faults]) from error


def _has_explicit_null(path: Path) -> bool:
    """Return whether the file sets `version` to an explicit null: an empty file or value must not stop a service."""
    root = safe_yaml.compose(path.read_text(encoding="utf-8"))
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return any(key.value == "version" and bool(value.value) for key, value in pairs)


def _add_hint(fault: Fault) -> Fault:
    """Return the fault with a more helpful list of allowed values where `version` is missing."""
    if fault.key == ("version",) and fault.found == "missing":
        return replace(fault, allowed="such as v3, or null: nothing runs")
    return fault


def _locate_key(file: YamlFile, key: tuple[str, ...]) -> str:
    """Return `file:line` of a key, or of its deepest parent that the file has."""
    line = 1
    for depth in range(1, len(key) + 1):
        if (node := file.root.get_node(key[:depth])) is not None:
            line = node.line
    return f"{file.path}:{line}"


def read_at_commit(commit: str, name: str) -> Environment | None:
    """Return the environment declared at a commit; None if its file was absent or invalid."""
    text = git.read_file(commit, get_path(name))
    try:
        values: Any = safe_yaml.load(text or "")
        return Environment.model_validate(values)
    except (yaml.YAMLError, ValidationError):
        return None
