"""Compares params.yaml with that of a commit: changed keys, changed locations, and weakened rules of the gate."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.config.schema import Lock
from merit.config.tasks import HIGHER_IS_BETTER
from merit.errors import MeritError
from merit.gate.champion import Champion

Path = tuple[str, ...]
Leaves = dict[Path, Any]

ABSENT = object()
"""The value of a key that does not exist, distinct from null."""

WAIVERS = "waivers"
"""The key of `gate` that holds waivers. Adding a waiver weakens the gate; of other rules, removing one does."""

LARGER_IS_WEAKER = frozenset(
    {"margin", "tolerance", "calibration", "parity", "size_mb", "row_ms", "batch_ms", "max"},
)
SMALLER_IS_WEAKER = frozenset({"confidence", "resamples", "amount", "rows", "min"})

ENTITY = ("data", "leakage", "entity")
"""The rule that is strictest at null: merit then looks for entity columns itself."""

SECTIONS = frozenset(
    {"floors", "baseline", "champion", "data", "slices", "robustness", "behaviour", "time", "replay", "checks"}
)
"""The sections of `gate` that hold only rules, so that a wholly new entry makes the gate stricter."""

ELSEWHERE: dict[Path, str] = {
    ("evaluate", "slices"): "fewer",
    ("evaluate", "slice_min_rows"): "larger",
    ("package", "parity", "rows"): "smaller",
    ("package", "parity", "tolerance"): "larger",
}
"""Keys outside `gate` that its rules depend on, and the direction that is weaker.

The data contract is missing on purpose: it changes together with the data."""


LOCATIONS: tuple[Path, ...] = (
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

Reports show each change of these to the reviewer (docs/what-yaml-may-do.md)."""


def since(lock: Lock, champion: Champion | None, against: str | None = None) -> dict[str, list[dict[str, Any]]] | None:
    """Return the changed keys, rules and locations since the champion; None if there is no params.yaml to compare with.

    Args:
        lock: the parsed params.yaml.
        champion: the champion to compare with; None to compare with `against`.
        against: a commit; None for the merge base with main.

    Raises:
        MeritError: params.yaml at that commit is not valid.
    """
    commit = champion.commit if champion else git.target_commit() if against is None else git.resolve(against)
    before = None if commit is None else at(commit)
    if before is None:
        return None
    after = lock.model_dump(mode="json", by_alias=True)
    return {
        "config": differences(before, after),
        "rules": rules(before, after),
        "locations": locations(before, after),
    }


def at(commit: str) -> dict[str, Any] | None:
    """Return the values of params.yaml at a commit, or None if it did not exist.

    Raises:
        MeritError: params.yaml at that commit is not valid.
    """
    text = git.show(commit, artifacts.LOCK)
    return None if text is None else parsed(text, f"{artifacts.LOCK} at {commit[:7]}")


def parsed(text: str, name: str, remedy: str = "name another commit") -> dict[str, Any]:
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


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every changed leaf with its dotted key and both values as text; None means that the key does not exist."""
    return [
        {"key": dotted(path), "before": shown(old), "after": shown(new)}
        for path, old, new in _differing(leaves(before), leaves(after))
    ]


def locations(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed locations, in the order of `LOCATIONS`."""
    found = list(_differing(leaves(before), leaves(after)))
    return [
        {"key": dotted(path), "before": shown(old), "after": shown(new)}
        for location in LOCATIONS
        for path, old, new in found
        if path[: len(location)] == location
    ]


def rules(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed rules of the gate, each with whether it is less strict than before."""
    old, new = before.get("gate") or {}, after.get("gate") or {}
    found = [
        (("gate", *path), was, now, is_weaker(path, was, now, is_new=_is_new(path, old)))
        for path, was, now in _differing(leaves(old), leaves(new))
    ]
    found += [
        (path, was, now, _is_weaker_value(ELSEWHERE[path], was, now))
        for path, was, now in _differing(leaves(before), leaves(after))
        if path in ELSEWHERE
    ]
    return [
        {"key": dotted(path), "before": shown(was), "after": shown(now), "weaker": weaker}
        for path, was, now, weaker in found
    ]


def _differing(before: Leaves, after: Leaves) -> Iterator[tuple[Path, Any, Any]]:
    """Yield changed leaves in the order of the present lock, then removed ones."""
    for path in [*after, *(gone for gone in before if gone not in after)]:
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        # A null that became a section is no removed key: the keys of the section are listed as new.
        became_section = old is None and new is ABSENT and any(each[: len(path)] == path for each in after)
        if not _same(old, new) and not became_section:
            yield path, old, new


def _same(old: Any, new: Any) -> bool:
    """Compare values as YAML means them: 1 equals 1.0, but true does not equal 1."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def leaves(values: Mapping[str, Any], place: Path = ()) -> Leaves:
    """Flatten nested mappings to values by path; a list counts as one value."""
    found: Leaves = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= leaves(value, (*place, str(name)))
        else:
            found[(*place, str(name))] = value
    return found


def dotted(path: Path) -> str:
    """Return a path as a dotted key; a part that contains a dot is quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in path)


def shown(value: Any) -> str | None:
    """Return a value as one line of YAML; None if the key does not exist (null gives the text `null`)."""
    if value is ABSENT:
        return None
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@lru_cache(maxsize=10_000)
def _is_plain(text: str) -> bool:
    """Return whether YAML reads the unquoted text as the same string."""
    if "\n" in text or not text.isprintable():
        return False
    try:
        return bool(safe_yaml.load(text) == text)
    except yaml.YAMLError:
        return False


def is_weaker(path: Path, before: Any, after: Any, *, is_new: bool = False) -> bool:
    """Return whether a rule below `gate` is less strict than before; an unknown rule counts as weaker.

    Args:
        path: the keys below `gate`.
        before: the old value; ABSENT if the key is new.
        after: the new value; ABSENT if the key was removed.
        is_new: whether the key belongs to a wholly new rule.
    """
    if path[0] == WAIVERS:
        return _is_more_waived(path, before, after)
    if path == ("champion",):
        return _is_weaker_list(before, after)
    if path == ENTITY:
        return not is_new and _is_entity_weaker(before, after)
    if path[:2] == ("behaviour", "direction") and path[-1] == "tolerance":  # no tolerance is the strictest
        before, after = (0.0 if value in (ABSENT, None) else value for value in (before, after))
    # Without a value there is no limit.
    was_open, is_open = before in (ABSENT, None), after in (ABSENT, None)
    if is_open or is_new:
        return is_open and not was_open
    return _is_weaker_value(_direction(path), before, after)


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


def _direction(path: Path) -> str | None:
    """Return which change is weaker: "larger", "smaller" or "fewer" names; None if unknown."""
    *above, last = path
    if above == ["floors"]:
        higher = HIGHER_IS_BETTER.get(last)
        return None if higher is None else ("smaller" if higher else "larger")
    # Another seed is neither larger nor smaller; arguments of own checks and columns of golden rows have any name.
    if last == "seed" or above[:1] == ["checks"] or "row" in above:
        return None
    if last in SMALLER_IS_WEAKER or last.startswith("min_"):
        return "smaller"
    return "larger" if last in LARGER_IS_WEAKER or above[:1] == ["data"] else None


def _is_entity_weaker(before: Any, after: Any) -> bool:
    """Compare the entity columns, whose values must not occur on both sides of a split.

    Null is the strictest, since merit then looks for such columns itself; naming columns instead is weaker.
    """
    if after is None or after is ABSENT:
        return bool(before) and before is not ABSENT
    return before is None or _is_weaker_value("fewer", before, after)


def _is_new(path: Path, before: Any) -> bool:
    """Return whether the key's rule or section is new as a whole."""
    if path[0] not in SECTIONS:
        return False
    for name in path[:-1]:
        before = before.get(name) if isinstance(before, Mapping) else None
        if before is None:
            return True
    # A floor is a rule by itself; so is a section that was null.
    return path[0] == "floors" and path[-1] not in before


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_weaker_list(before: Any, after: Any) -> bool:
    """Compare margins by metric: dropping a metric or raising its margin is weaker."""
    old, new = _margins(before), _margins(after)
    if old is None or new is None:
        return True
    return any(metric not in new or new[metric] > margin for metric, margin in old.items())


def _margins(rules: Any) -> dict[str, float] | None:
    """Return the smallest margin of each metric, since all must hold; None if the rules have another format."""
    if rules is ABSENT or rules is None:
        return {}
    found: dict[str, float] = {}
    for rule in rules if isinstance(rules, list) else [None]:
        if not (isinstance(rule, dict) and rule.keys() == {"metric", "margin"} and _is_number(rule["margin"])):
            return None
        found[rule["metric"]] = min(rule["margin"], found.get(rule["metric"], rule["margin"]))
    return found


def _is_more_waived(path: Path, before: Any, after: Any) -> bool:
    """Return whether a waiver was added or extended; a changed reason alone does not count."""
    if after is ABSENT or (path[-1] == "reason" and before is not ABSENT):
        return False
    return not (path[-1] == "until" and isinstance(before, str) and str(after) <= before)
