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
from merit.errors import ConfigError, MeritError, Problem

HEADER = "# Generated from conf/ by 'merit compose'. Don't edit: change conf/, then compose again.\n"
REMEDY = "run 'merit compose'"
UNREAD = f"sha256:{'f' * 64}"
"""The fingerprint of a source that was not read; no lock is ever written with it."""
NOT_READ = "not read; 'merit compose' reads the source"
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""PyYAML's safe dumper, in C if PyYAML was built with libyaml."""


def render(lock: Lock) -> str:
    """Return the text of params.yaml, in the schema's order and with every value resolved."""
    values = lock.model_dump(mode="json", by_alias=True)
    body = yaml.dump(values, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return HEADER + body


def write(lock: Lock) -> bool:
    """Write params.yaml if it differs; return whether it did."""
    text = render(lock)
    if artifacts.LOCK.is_file() and artifacts.LOCK.read_text(encoding="utf-8") == text:
        artifacts.LOCK.touch()  # so that `current` needn't compose: no file of conf/ is newer
        return False
    artifacts.write_text(artifacts.LOCK, text)
    return True


def difference(lock: Lock) -> str:
    """Return a unified diff of params.yaml against what conf/ composes to; empty if they are equal."""
    found = artifacts.LOCK.read_text(encoding="utf-8") if artifacts.LOCK.is_file() else ""
    lines = difflib.unified_diff(
        found.splitlines(),
        render(lock).replace(UNREAD, NOT_READ).splitlines(),
        f"{artifacts.LOCK} (found)",
        "conf/ (composed)",
        lineterm="",
    )
    return "\n".join(lines)


def fingerprint_of(source: Mapping[str, Any], path: Path = artifacts.LOCK) -> str:
    """Return the fingerprint that the lock has for this source declaration; `UNREAD` if it has none."""
    try:
        values = safe_yaml.load(path.read_text(encoding="utf-8"))
        data = values["data"]
        known, found = data["source"], data["fingerprint"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return UNREAD
    written = json.loads(json.dumps(source, default=str))  # a date of conf/ is a string in the lock
    return found if isinstance(found, str) and known == written else UNREAD


def preprocessing(data: Data, features: Features) -> str:
    """Return the hash of all settings of the preprocessing; `features` stores it beside the fitted result."""
    sections = data.model_dump(mode="json", include={"columns", "split", "target", "time"})
    text = json.dumps([sections, features.model_dump(mode="json")], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read() -> Lock:
    """Return the lock.

    Raises:
        MeritError: params.yaml doesn't exist.
        ConfigError: it was edited by hand, and the schema refuses it.
    """
    if not artifacts.LOCK.is_file():
        raise MeritError(f"{artifacts.LOCK}: not found; 'merit compose' writes it")
    try:
        text = artifacts.LOCK.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(str(artifacts.LOCK), "", "not UTF-8", hint="'merit compose' writes it again")]
        ) from error
    return parse(text, str(artifacts.LOCK))


def current(section: str) -> Lock:
    """Return the lock, if a section of it agrees with conf/; it is composed only if a file is newer than the lock.

    Raises:
        MeritError: params.yaml doesn't exist, or conf/ was changed since and the section differs.
        ConfigError: as for `read`, or the schema refuses what conf/ says now.
    """
    found = read()
    written = artifacts.LOCK.stat().st_mtime_ns
    if any(file.stat().st_mtime_ns > written for file in artifacts.CONF.rglob("*.yaml")):
        from merit.config.compose import composition
        from merit.config.explain import explained, text

        composed = composition(touch="nothing")
        now, then = (each.model_dump(mode="json", by_alias=True)[section] for each in (composed.lock, found))
        if now != then:
            path, old = _changed(now, then, (section,))
            told = explained(composed, ".".join(path))
            raise MeritError(
                f"{told.where}: {told.key} is {text(told.value)}, but {artifacts.LOCK} says {text(old)}; {REMEDY}"
            )
    return found


def _changed(now: Any, then: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """Return the first key whose value changed, and its value in the lock."""
    if isinstance(now, dict) and isinstance(then, dict) and now.keys() == then.keys():
        for name in now:
            if now[name] != then[name]:
                return _changed(now[name], then[name], (*path, name))
    return path, then


def parse(text: str, name: str) -> Lock:
    """Return the lock from its text; messages call the file `name`."""
    try:
        values = safe_yaml.load(text)
        return Lock.model_validate(values)
    except yaml.YAMLError as error:
        raise ConfigError([Problem(name, "", f"not valid YAML: {' '.join(str(error).split())}")]) from error
    except ValidationError as error:
        found = problems.from_validation(error, values)
        advised = [
            replace(fault, hint=f"{fault.hint} {REMEDY}".lstrip() if fault.hint != "add it" else f"add it; {REMEDY}")
            for fault in found
        ]
        raise ConfigError([fault.at(name) for fault in advised]) from error
