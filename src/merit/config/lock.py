"""The lock: params.yaml, written from a composed configuration and read by every stage."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merit import artifacts, safe_yaml
from merit.config import problems
from merit.config.schema import Lock
from merit.config.schema.data import Data, Features
from merit.console.logging import logger
from merit.errors import ConfigError, MeritError, Problem

LOCK_HEADER = "# Generated from conf/ by 'merit compose'. Don't edit: change conf/, then compose again.\n"
COMPOSE_HINT = "run 'merit compose'"
UNREAD_FINGERPRINT = f"sha256:{'f' * 64}"
"""The fingerprint of a source that was not read; no lock is ever written with it."""
UNREAD_TEXT = "not read; 'merit compose' reads the source"
YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""PyYAML's safe dumper, in C if PyYAML was built with libyaml."""


def render_lock(lock: Lock) -> str:
    """Return the text of params.yaml, in the schema's order and with every value resolved."""
    values = lock.model_dump(mode="json", by_alias=True)
    yaml_text = yaml.dump(values, Dumper=YAML_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return LOCK_HEADER + yaml_text


def write_lock(lock: Lock) -> bool:
    """Write params.yaml if it differs; return whether it did."""
    text = render_lock(lock)
    if artifacts.LOCK.is_file() and artifacts.LOCK.read_text(encoding="utf-8") == text:
        artifacts.LOCK.touch()  # so that `current` needn't compose: no file of conf/ is newer
        return False
    artifacts.write_text(artifacts.LOCK, text)
    return True


def diff_lock(lock: Lock) -> str:
    """Return a unified diff of params.yaml against what conf/ composes to; empty if they are equal."""
    current_text = artifacts.LOCK.read_text(encoding="utf-8") if artifacts.LOCK.is_file() else ""
    lines = difflib.unified_diff(
        current_text.splitlines(),
        render_lock(lock).replace(UNREAD_FINGERPRINT, UNREAD_TEXT).splitlines(),
        f"{artifacts.LOCK} (found)",
        "conf/ (composed)",
        lineterm="",
    )
    return "\n".join(lines)


def read_fingerprint(source: Mapping[str, Any], path: Path = artifacts.LOCK) -> str:
    """Return the fingerprint that the lock has for this source declaration; `UNREAD` if it has none."""
    try:
        values = safe_yaml.load(path.read_text(encoding="utf-8"))
        data = values["data"]
        locked_source, locked_fingerprint = data["source"], data["fingerprint"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return UNREAD_FINGERPRINT
    declared_source = json.loads(json.dumps(source, default=str))  # a date of conf/ is a string in the lock
    return (
        locked_fingerprint
        if isinstance(locked_fingerprint, str) and locked_source == declared_source
        else UNREAD_FINGERPRINT
    )


def hash_preprocessing(data: Data, features: Features) -> str:
    """Return the hash of all settings of the preprocessing; `features` stores it beside the fitted result."""
    sections = data.model_dump(mode="json", include={"columns", "split", "target", "time"})
    text = json.dumps([sections, features.model_dump(mode="json")], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_lock() -> Lock:
    """Return the lock.

    Raises:
        MeritError: params.yaml doesn't exist.
        ConfigError: it was edited by hand, and the schema refuses it.
    """
    if not artifacts.LOCK.is_file():
        raise MeritError(f"{artifacts.LOCK}: not found; 'merit compose' writes it")
    logger.debug("reads %s", artifacts.LOCK)
    try:
        text = artifacts.LOCK.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(str(artifacts.LOCK), "", "not UTF-8", hint="'merit compose' writes it again")]
        ) from error
    return parse_lock(text, str(artifacts.LOCK))


def parse_lock(text: str, file_name: str) -> Lock:
    """Return the lock from its text; messages call the file `name`."""
    try:
        values = safe_yaml.load(text)
        return Lock.model_validate(values)
    except yaml.YAMLError as error:
        raise ConfigError([Problem(file_name, "", f"not valid YAML: {' '.join(str(error).split())}")]) from error
    except ValidationError as error:
        faults = problems.convert_validation_error(error, values)
        advised = [
            replace(
                fault,
                hint=f"{fault.hint} {COMPOSE_HINT}".lstrip() if fault.hint != "add it" else f"add it; {COMPOSE_HINT}",
            )
            for fault in faults
        ]
        raise ConfigError([fault.to_problem(file_name) for fault in advised]) from error
