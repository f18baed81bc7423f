"""The effective change: which leaves of params.yaml differ from a commit's, and which rules of the gate got weaker."""

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
"""What stands where a key is not there; a key may be there and null."""

WAIVERS = "waivers"
"""The key of `gate` that holds waivers: one more is weaker, where one less of any other rule is."""

LARGER_IS_WEAKER = frozenset(
    {"margin", "tolerance", "calibration", "parity", "size_mb", "row_ms", "batch_ms", "max"},
)
SMALLER_IS_WEAKER = frozenset({"confidence", "resamples", "amount", "rows", "min"})

ENTITY = ("data", "leakage", "entity")
"""The rule of which no value asks for the most."""

SECTIONS = frozenset(
    {"floors", "baseline", "champion", "data", "slices", "robustness", "behaviour", "time", "replay", "checks"}
)
"""The sections of `gate` that hold nothing but rules: what is new in them as a whole only asks for more."""

ELSEWHERE: dict[Path, str] = {
    ("evaluate", "slices"): "fewer",
    ("evaluate", "slice_min_rows"): "larger",
    ("package", "parity", "rows"): "smaller",
    ("package", "parity", "tolerance"): "larger",
}
"""What the gate's rules rest on elsewhere, and what of it is weaker. The contract goes with the data."""


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
"""Where data comes from, where runs, logs, telemetry, answers and images go, and who may ask: a reviewer sees each
change of these (docs/what-yaml-may-do.md)."""


def since(lock: Lock, champion: Champion | None, against: str | None = None) -> dict[str, list[dict[str, Any]]] | None:
    """Return how a lock differs from the champion's, with its rules and locations; None if there is none to compare.

    Args:
        lock: the configuration.
        champion: whose; without one, that of the commit where it would be.
        against: that commit; None for the merge base with main.

    Raises:
        MeritError: params.yaml at that commit is not what compose writes.
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
    """Return the values of params.yaml at a commit, or None if there was none.

    Raises:
        MeritError: it is not what compose writes.
    """
    text = git.show(commit, artifacts.LOCK)
    return None if text is None else parsed(text, f"{artifacts.LOCK} at {commit[:7]}")


def parsed(text: str, name: str, remedy: str = "name another commit") -> dict[str, Any]:
    """Return the values of a lock, of this form of conf/ or another; `name` is what the message calls it.

    Raises:
        MeritError: it is no YAML, or holds no keys.
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
    """Return every leaf that differs: its dotted key and both values as text; null is no value at all."""
    return [
        {"key": dotted(path), "before": shown(old), "after": shown(new)}
        for path, old, new in _differing(leaves(before), leaves(after))
    ]


def locations(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the differences among the locations, in the order of `LOCATIONS`."""
    found = list(_differing(leaves(before), leaves(after)))
    return [
        {"key": dotted(path), "before": shown(old), "after": shown(new)}
        for location in LOCATIONS
        for path, old, new in found
        if path[: len(location)] == location
    ]


def rules(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the differences among the gate's rules, and of each whether it lets more through than before."""
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
    """Yield what differs in the order of the present lock, then what is gone."""
    for path in [*after, *(gone for gone in before if gone not in after)]:
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        became_section = old is None and new is ABSENT and any(each[: len(path)] == path for each in after)
        if not _same(old, new) and not became_section:
            yield path, old, new


def _same(old: Any, new: Any) -> bool:
    """Compare as a reader of YAML does, to whom 1 and 1.0 are the same, but true is not 1."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def leaves(values: Mapping[str, Any], place: Path = ()) -> Leaves:
    """Return every value that is no mapping by the keys that lead to it; a list is one value."""
    found: Leaves = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= leaves(value, (*place, str(name)))
        else:
            found[(*place, str(name))] = value
    return found


def dotted(path: Path) -> str:
    """Return a key as people write it; a part that holds a dot itself is quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in path)


def shown(value: Any) -> str | None:
    """Return a value as YAML reads it, on one line; None, which no value gives, if the key is not there."""
    if value is ABSENT:
        return None
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@lru_cache(maxsize=10_000)
def _is_plain(text: str) -> bool:
    """Say whether YAML reads a text without quotes as that very text."""
    if "\n" in text or not text.isprintable():
        return False
    try:
        return bool(safe_yaml.load(text) == text)
    except yaml.YAMLError:
        return False


def is_weaker(path: Path, before: Any, after: Any, *, is_new: bool = False) -> bool:
    """Say whether a rule below `gate` lets more through than before; what isn't known counts as weaker.

    Args:
        path: the keys below `gate`.
        before: its value; ABSENT if it is new.
        after: its value; ABSENT if it is gone.
        is_new: whether it is part of a rule that is new as a whole.
    """
    if path[0] == WAIVERS:
        return _is_more_waived(path, before, after)
    if path == ("champion",):
        return _is_weaker_list(before, after)
    if path == ENTITY:
        return not is_new and _is_entity_weaker(before, after)
    if path[:2] == ("behaviour", "direction") and path[-1] == "tolerance":  # none is the strictest
        before, after = (0.0 if value in (ABSENT, None) else value for value in (before, after))
    # No value is no limit: it lets everything through.
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
    """Return whether a larger value is weaker, a smaller one or fewer names; None if that is not known."""
    *above, last = path
    if above == ["floors"]:
        higher = HIGHER_IS_BETTER.get(last)
        return None if higher is None else ("smaller" if higher else "larger")
    # Another draw is neither; arguments of own checks and columns of golden rows may be called anything.
    if last == "seed" or above[:1] == ["checks"] or "row" in above:
        return None
    if last in SMALLER_IS_WEAKER or last.startswith("min_"):
        return "smaller"
    return "larger" if last in LARGER_IS_WEAKER or above[:1] == ["data"] else None


def _is_entity_weaker(before: Any, after: Any) -> bool:
    """Compare the columns that must not be on both sides; null looks for them, which names are no substitute for."""
    if after is None or after is ABSENT:
        return bool(before) and before is not ABSENT
    return before is None or _is_weaker_value("fewer", before, after)


def _is_new(path: Path, before: Any) -> bool:
    """Say whether the rule that a key is part of, or its section, was not there before."""
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
    """Compare margins by metric: a metric that is no longer compared, or by a larger margin, is weaker."""
    old, new = _margins(before), _margins(after)
    if old is None or new is None:
        return True
    return any(metric not in new or new[metric] > margin for metric, margin in old.items())


def _margins(rules: Any) -> dict[str, float] | None:
    """Return the least margin of each metric, for all of them have to hold; None if it can't be read."""
    if rules is ABSENT or rules is None:
        return {}
    found: dict[str, float] = {}
    for rule in rules if isinstance(rules, list) else [None]:
        if not (isinstance(rule, dict) and rule.keys() == {"metric", "margin"} and _is_number(rule["margin"])):
            return None
        found[rule["metric"]] = min(rule["margin"], found.get(rule["metric"], rule["margin"]))
    return found


def _is_more_waived(path: Path, before: Any, after: Any) -> bool:
    """Say whether something is waived now that was not before, or for longer; another reason alone waives no more."""
    if after is ABSENT or (path[-1] == "reason" and before is not ABSENT):
        return False
    return not (path[-1] == "until" and isinstance(before, str) and str(after) <= before)
