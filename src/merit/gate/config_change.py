"""Compares params.yaml with that of a commit: changed keys, changed locations, and weakened rules of the gate."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.config.schema import Lock
from merit.config.schema.gate import Gate
from merit.config.schema.strictness import Weaker, find_weaker, list_marked_paths
from merit.config.tasks import HIGHER_IS_BETTER
from merit.errors import MeritError
from merit.gate.champion import Champion

KeyPath = tuple[str, ...]
Leaves = dict[KeyPath, Any]

ABSENT = object()
"""The value of a key that does not exist, distinct from null."""

WAIVERS_KEY = "waivers"
"""The key of `gate` that holds waivers. Adding a waiver weakens the gate; of other rules, removing one does."""

RULES_OUTSIDE_GATE = frozenset(path for path in list_marked_paths(Lock) if path[0] != "gate")
"""Keys outside `gate` that its rules depend on; their fields declare the change that is weaker.

The data contract is missing on purpose: it changes together with the data."""


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


def compare_with_champion(
    lock: Lock, champion: Champion | None, ref: str | None = None
) -> dict[str, list[dict[str, Any]]] | None:
    """Return the changed keys, rules and locations since the champion; None if there is no params.yaml to compare with.

    Args:
        lock: the parsed params.yaml.
        champion: the champion to compare with; None to compare with `ref`.
        ref: a commit; None for the merge base with main.

    Raises:
        MeritError: params.yaml at that commit is not valid.
    """
    commit = champion.commit if champion else git.find_target_commit() if ref is None else git.resolve_commit(ref)
    before = None if commit is None else read_params_at(commit)
    if before is None:
        return None
    after = lock.model_dump(mode="json", by_alias=True)
    return {
        "config": list_changed_keys(before, after),
        "rules": list_changed_rules(before, after),
        "locations": list_changed_locations(before, after),
    }


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
        for path, old, new in _iter_changes(flatten_values(before), flatten_values(after))
    ]


def list_changed_locations(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed locations, in the order of `LOCATION_PATHS`."""
    changes = list(_iter_changes(flatten_values(before), flatten_values(after)))
    return [
        {"key": format_key(path), "before": format_value(old), "after": format_value(new)}
        for location in LOCATION_PATHS
        for path, old, new in changes
        if path[: len(location)] == location
    ]


def list_changed_rules(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed rules of the gate, each with whether it is less strict than before."""
    old_gate, new_gate = before.get("gate") or {}, after.get("gate") or {}
    changes = [
        (("gate", *path), old_value, new_value, is_weaker(path, old_value, new_value, is_new=_is_new(path, old_gate)))
        for path, old_value, new_value in _iter_changes(flatten_values(old_gate), flatten_values(new_gate))
    ]
    changes += [
        (path, was, now, _is_weaker_value(_find_change(path), was, now))
        for path, was, now in _iter_changes(flatten_values(before), flatten_values(after))
        if path in RULES_OUTSIDE_GATE
    ]
    return [
        {"key": format_key(path), "before": format_value(was), "after": format_value(now), "weaker": weaker}
        for path, was, now, weaker in changes
    ]


def _iter_changes(before: Leaves, after: Leaves) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield changed leaves in the order of the present lock, then removed ones."""
    for path in [*after, *(removed for removed in before if removed not in after)]:
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        # A null that became a section is no removed key: the keys of the section are listed as new.
        became_section = old is None and new is ABSENT and any(other_path[: len(path)] == path for other_path in after)
        if not _is_equal(old, new) and not became_section:
            yield path, old, new


def _is_equal(old: Any, new: Any) -> bool:
    """Compare values as YAML means them: 1 equals 1.0, but true does not equal 1."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_equal, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_is_equal(old[name], new[name]) for name in old)
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def flatten_values(values: Mapping[str, Any], prefix: KeyPath = ()) -> Leaves:
    """Flatten nested mappings to values by path; a list counts as one value."""
    flat: Leaves = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_values(value, (*prefix, str(name)))
        else:
            flat[(*prefix, str(name))] = value
    return flat


def format_key(path: KeyPath) -> str:
    """Return a path as a dotted key; a part that contains a dot is quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in path)


def format_value(value: Any) -> str | None:
    """Return a value as one line of YAML; None if the key does not exist (null gives the text `null`)."""
    if value is ABSENT:
        return None
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@lru_cache(maxsize=10_000)
def _is_plain(text: str) -> bool:
    """Return whether YAML reads the unquoted text as the same string."""
    if not text.isprintable():  # a line break isn't either
        return False
    try:
        return bool(safe_yaml.load(text) == text)
    except yaml.YAMLError:
        return False


def is_weaker(path: KeyPath, before: Any, after: Any, *, is_new: bool = False) -> bool:
    """Return whether a rule below `gate` is less strict than before; an unknown rule counts as weaker.

    Args:
        path: the keys below `gate`.
        before: the old value; ABSENT if the key is new.
        after: the new value; ABSENT if the key was removed.
        is_new: whether the key belongs to a wholly new rule.
    """
    if path[0] == WAIVERS_KEY:
        return _is_waiver_extended(path, before, after)
    declared = find_weaker(Lock, ("gate", *path))
    if declared == Weaker("margins"):
        return _is_margin_list_weaker(before, after)
    if declared is not None and declared.null == "detected":
        return not is_new and _are_names_weaker(before, after)
    if declared is not None and declared.null == "zero":
        before, after = (0.0 if value in (ABSENT, None) else value for value in (before, after))
    # Without a value there is no limit.
    was_unlimited, is_unlimited = before in (ABSENT, None), after in (ABSENT, None)
    if is_unlimited or is_new:
        return is_unlimited and not was_unlimited
    return _is_weaker_value(_find_change(("gate", *path)), before, after)


def _is_weaker_value(direction: str | None, before: Any, after: Any) -> bool:
    if direction is None:
        return True
    if before in (ABSENT, None):
        return False
    if direction == "fewer" and isinstance(before, list) and isinstance(after, list):
        return any(name not in after for name in before)
    if not (_is_number(before) and _is_number(after)):
        return True
    return bool(after > before if direction == "larger" else after < before)


def _find_change(path: KeyPath) -> str | None:
    """Return which change is weaker: "larger", "smaller" or "fewer"; None if any other value is."""
    declared = find_weaker(Lock, path)
    if declared is None or declared.change == "any":
        return None
    if declared.change != "worse metric":
        return declared.change
    higher_is_better = HIGHER_IS_BETTER.get(path[-1])
    return None if higher_is_better is None else ("smaller" if higher_is_better else "larger")


def _are_names_weaker(before: Any, after: Any) -> bool:
    """Compare names that are detected where the value is null, which is the strictest: to name some is weaker."""
    if after is None or after is ABSENT:
        return bool(before) and before is not ABSENT
    return before is None or _is_weaker_value("fewer", before, after)


def _is_new(path: KeyPath, before: Any) -> bool:
    """Return whether the key's rule or section is new as a whole."""
    if path[0] not in Gate.model_fields or path[0] == WAIVERS_KEY:
        return False
    for name in path[:-1]:
        before = before.get(name) if isinstance(before, Mapping) else None
        if before is None:
            return True
    # A floor is a rule by itself; so is a section that was null.
    return path[0] == "floors" and path[-1] not in before


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_margin_list_weaker(before: Any, after: Any) -> bool:
    """Compare margins by metric: dropping a metric or raising its margin is weaker."""
    old, new = _collect_margins(before), _collect_margins(after)
    if old is None or new is None:
        return True
    return any(metric not in new or new[metric] > margin for metric, margin in old.items())


def _collect_margins(rules: Any) -> dict[str, float] | None:
    """Return the smallest margin of each metric, since all must hold; None if the rules have another format."""
    if rules is ABSENT or rules is None:
        return {}
    margins: dict[str, float] = {}
    for rule in rules if isinstance(rules, list) else [None]:
        if not (isinstance(rule, dict) and rule.keys() == {"metric", "margin"} and _is_number(rule["margin"])):
            return None
        margins[rule["metric"]] = min(rule["margin"], margins.get(rule["metric"], rule["margin"]))
    return margins


def _is_waiver_extended(path: KeyPath, before: Any, after: Any) -> bool:
    """Return whether a waiver was added or extended; a changed reason alone does not count."""
    if after is ABSENT or (path[-1] == "reason" and before is not ABSENT):
        return False
    return not (path[-1] == "until" and isinstance(before, str) and str(after) <= before)
