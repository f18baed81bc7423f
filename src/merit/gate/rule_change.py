"""Lists the rules of the gate that changed in params.yaml, and decides which are weaker than before.

A key is a rule unless the schema declares that it is none (`merit.config.schema.strictness`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from merit.config.schema import Lock
from merit.config.schema.strictness import (
    NoRule,
    Weaker,
    find_declaration,
    find_field,
    get_declaration,
    is_section,
    split_union,
)
from merit.config.tasks import HIGHER_IS_BETTER
from merit.gate.key_changes import ABSENT, KeyPath, flatten_values, format_key, format_value, is_equal, iter_changes

Values = Mapping[str, Any]

WAIVERS = ("gate", "waivers")
"""Where waivers are. Adding a waiver weakens the gate; of other rules, removing one does."""
COLUMNS = ("data", "columns")
GOLDEN_ROWS = ("gate", "behaviour", "golden")
TEST_DAYS = ("data", "split", "test_days")
"""The key by which reports show the days of the test part, which follow from several keys."""
MIN_TEST_DAYS_SHARE = 0.9
"""The least share of its former days that a test part may have: months differ by a tenth in length."""


def list_changed_rules(before: Values, after: Values) -> list[dict[str, Any]]:
    """Return the changed rules of the gate, each with whether it is less strict than before."""
    changes = [
        (path, was, now, is_weaker(path, was, now, before, after)) for path, was, now in _iter_rules(before, after)
    ]
    old_days, new_days = count_test_days(before), count_test_days(after)
    if old_days is not None and new_days is not None and old_days != new_days:
        changes.append((TEST_DAYS, old_days, new_days, new_days < MIN_TEST_DAYS_SHARE * old_days))
    return [
        {"key": format_key(path), "before": format_value(was), "after": format_value(now), "weaker": weaker}
        for path, was, now, weaker in changes
    ]


def _iter_rules(before: Values, after: Values) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield the changed leaves that are rules."""
    for path, was, now in iter_changes(flatten_values(before), flatten_values(after)):
        if not isinstance(find_declaration(Lock, path), NoRule):
            former = _read_default(path, now, before) if was is ABSENT else was
            if former is ABSENT or not is_equal(former, now):
                yield path, former, now


def is_weaker(path: KeyPath, was: Any, now: Any, before: Values, after: Values) -> bool:
    """Return whether a rule is less strict than before; one that declares no direction is, whenever it changes.

    Args:
        path: the rule's keys.
        was: its old value; ABSENT if the key is new.
        now: its new value; ABSENT if the key was removed.
        before: all old values.
        after: all new values.
    """
    if path[:2] == WAIVERS:
        return _is_waiver_extended(path, was, now)
    if path[:2] == COLUMNS and _is_gone(path[:3], after):
        return not _is_input(path[2], before)
    if path[:3] == GOLDEN_ROWS and _follows_input(path, was, now, before, after):
        return False
    declared = find_declaration(Lock, path)
    is_new = declared is not None and _is_new(path, before)  # of what no schema knows, nothing is a new rule
    declared = Weaker("any") if declared is None else declared
    assert not isinstance(declared, NoRule)
    return (
        _is_earlier(was, now)
        if declared.change == "earlier"
        else _is_declared_weaker(declared, path, was, now, is_new=is_new)
    )


def count_test_days(values: Values) -> int | None:
    """Return the declared days of the test part of a split by time; None for another split."""
    data = values.get("data") or {}
    split, window = data.get("split") or {}, data.get("window") or {}
    try:
        first, last = date.fromisoformat(split["validation_until"]), date.fromisoformat(split["test_until"])
        end = min(last, date.fromisoformat(window["end"])) if "end" in window else last
    except (KeyError, TypeError, ValueError):
        return None
    return (end - first).days


def _is_declared_weaker(declared: Weaker, path: KeyPath, was: Any, now: Any, *, is_new: bool) -> bool:
    if declared.change == "margins":
        return _is_margin_list_weaker(was, now)
    if declared.null == "detected":
        return not is_new and _are_names_weaker(was, now)
    if declared.null == "zero":
        was, now = (0.0 if value in (ABSENT, None) else value for value in (was, now))
    # Without a value there is no limit.
    was_unlimited, is_unlimited = was in (ABSENT, None), now in (ABSENT, None)
    if is_unlimited or is_new:
        return is_unlimited and not was_unlimited
    return _is_value_weaker(_find_direction(declared, path), was, now)


def _is_value_weaker(direction: str | None, was: Any, now: Any) -> bool:
    if direction is None:
        return True
    if was in (ABSENT, None):
        return False
    if direction in {"fewer", "more"} and isinstance(was, list) and isinstance(now, list):
        kept, names = (now, was) if direction == "fewer" else (was, now)
        return any(name not in kept for name in names)
    if not (_is_number(was) and _is_number(now)):
        return True
    return bool(now > was if direction == "larger" else now < was)


def _find_direction(declared: Weaker, path: KeyPath) -> str | None:
    """Return which change is weaker: "larger", "smaller", "fewer" or "more"; None if any other value is."""
    if declared.change == "any":
        return None
    if declared.change != "worse metric":
        return declared.change
    higher_is_better = HIGHER_IS_BETTER.get(path[-1])
    return None if higher_is_better is None else ("smaller" if higher_is_better else "larger")


def _is_earlier(was: Any, now: Any) -> bool:
    """Compare last days as ISO texts; without one there is no last day."""
    if now in (ABSENT, None):
        return False
    return was in (ABSENT, None) or not isinstance(was, str) or str(now) < was


def _are_names_weaker(before: Any, after: Any) -> bool:
    """Compare names that are detected where the value is null, which is the strictest: to name some is weaker."""
    if after is None or after is ABSENT:
        return bool(before) and before is not ABSENT
    return before is None or _is_value_weaker("fewer", before, after)


def _is_new(path: KeyPath, before: Values) -> bool:
    """Return whether the key's rule or section is new as a whole; one that was null with a meaning of its own isn't."""
    values: Any = before
    for depth, name in enumerate(path[:-1], 1):
        values = values.get(name) if isinstance(values, Mapping) else None
        if values is None:
            return not _is_section_declared(path[:depth])
    # A floor is a rule by itself; so is a section that was null.
    return path[:2] == ("gate", "floors") and path[-1] not in values


def _is_section_declared(path: KeyPath) -> bool:
    """Return whether a section as a whole declares which change of it is weaker, so that null is a value of it."""
    field = find_field(Lock, path)
    if field is None or not any(map(is_section, split_union(field.annotation))):
        return False
    return isinstance(get_declaration(field), Weaker)


def _read_default(path: KeyPath, now: Any, before: Values) -> Any:
    """Return the value that a key had in an older lock that lacks it: its default, or ABSENT."""
    field = find_field(Lock, path)
    if field is None or field.is_required() or _is_new(path, before):
        return ABSENT
    return ABSENT if field.default is None and now is not None else field.default


def _is_gone(path: KeyPath, after: Values) -> bool:
    values: Any = after
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values is None


def _is_input(column: str, values: Values) -> bool:
    """Return whether the model takes a column."""
    columns = (values.get("data") or {}).get("columns") or {}
    return bool((columns.get(column) or {}).get("feature", "none") != "none")


def _follows_input(path: KeyPath, was: Any, now: Any, before: Values, after: Values) -> bool:
    """Return whether a golden row only gained a column that is new to the model, or lost one that it no longer takes.

    Such a row must have it, or must not: the expectation is the same.
    """
    if len(path) != 6 or path[4] != "row":
        return False
    was_input, is_input = _is_input(path[5], before), _is_input(path[5], after)
    return (was is ABSENT and not was_input and is_input) or (now is ABSENT and was_input and not is_input)


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
