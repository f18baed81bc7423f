"""Compares params.yaml with that of a commit: changed keys, changed locations, and weakened rules of the gate."""

from collections.abc import Mapping
from typing import Any

import yaml

from merit import artifacts, dvc, git, safe_yaml
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.code_change import list_changed_code, list_code_rules
from merit.gate.key_changes import KeyPath, flatten_values, format_key, format_value, iter_changes
from merit.gate.rule_change import list_changed_rules

LOCATION_PATHS: tuple[KeyPath, ...] = (
    ("tracking",),
    ("serve", "host"),
    ("serve", "port"),
    ("serve", "auth"),
    ("serve", "log", "folder"),
    ("serve", "telemetry", "endpoint"),
    ("stream", "broker"),
    ("stream", "url"),
    ("stream", "events"),
    ("stream", "answers"),
    ("stream", "dead_letters"),
    ("stream", "metrics_port"),
    ("release", "registry"),
    ("release", "base_image"),
    ("release", "signing"),
    ("data", "source"),
)
"""Keys for data sources, access to the endpoint, and where runs, logs, telemetry, predictions and images are sent.

Reports show each change of these to the reviewer (docs/explanation/what-yaml-may-do.md)."""


def compare_with_champion(lock: Lock, champion: Champion | None, ref: str | None = None) -> dict[str, Any] | None:
    """Return the changed keys, rules and locations since the champion; None if there is no params.yaml to compare with.

    `dropped` is the name of the model that the commit has a package of, if this change gives the model another.

    Args:
        lock: the parsed params.yaml.
        champion: the champion to compare with; None to compare with `ref`.
        ref: a commit; None for the merge base with main.

    Raises:
        MeritError: params.yaml at that commit is not valid.
    """
    commit = champion.commit if champion else git.find_target_commit() if ref is None else git.resolve_commit(ref)
    before = None if commit is None else read_params_at(commit)
    if before is None or commit is None:
        return None
    after = lock.model_dump(mode="json", by_alias=True)
    code = list_changed_code(before, after, commit)
    return {
        "config": list_changed_keys(before, after),
        "rules": [*list_changed_rules(before, after), *list_code_rules(code)],
        "locations": list_changed_locations(before, after),
        "dropped": None if champion else _find_dropped_name(before, commit, lock.name),
        "code": code,
    }


def _find_dropped_name(before: Mapping[str, Any], commit: str, name: str) -> str | None:
    """Return the name of the model whose package a commit has, if it is another, so that it is no champion."""
    former = before.get("name")
    has_package = artifacts.PACKAGE.as_posix() in (dvc.read_outputs_at(commit) or {})
    return str(former) if has_package and former not in {None, name} else None


def read_params_at(commit: str) -> dict[str, Any] | None:
    """Return the values of params.yaml at a commit, or None if it did not exist.

    Raises:
        MeritError: params.yaml at that commit is not valid.
    """
    text = git.read_file(commit, artifacts.LOCK)
    return None if text is None else parse_params(text, f"{artifacts.LOCK} at {commit[:7]}")


def parse_params(text: str, name: str, remedy: str = "name another commit") -> dict[str, Any]:
    """Parse the text of a params.yaml, without requiring the present schema.

    Args:
        text: the YAML.
        name: the file's name in error messages.
        remedy: what to do, for error messages.

    Raises:
        MeritError: the text is not valid YAML or has no keys.
    """
    try:
        values = safe_yaml.load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"{name}: not valid YAML ({reason}); {remedy}") from error
    if not isinstance(values, dict):
        raise MeritError(f"{name}: holds no keys; {remedy}")
    return values


def list_changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every changed leaf with its dotted key and both values as text; None means that the key does not exist."""
    return [
        {"key": format_key(path), "before": format_value(old), "after": format_value(new)}
        for path, old, new in iter_changes(flatten_values(before), flatten_values(after))
    ]


def list_changed_locations(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed locations, in the order of `LOCATION_PATHS`."""
    changes = list(iter_changes(flatten_values(before), flatten_values(after)))
    return [
        {"key": format_key(path), "before": format_value(old), "after": format_value(new)}
        for location in LOCATION_PATHS
        for path, old, new in changes
        if path[: len(location)] == location
    ]
