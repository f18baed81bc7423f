"""Flattens params.yaml to leaves, lists those that changed, and formats keys and values for reports."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from merit import safe_yaml

KeyPath = tuple[str, ...]
Leaves = dict[KeyPath, Any]

ABSENT = object()
"""The value of a key that does not exist, distinct from null."""


def iter_changes(before: Leaves, after: Leaves) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield changed leaves in the order of the present lock, then removed ones."""
    for path in [*after, *(removed for removed in before if removed not in after)]:
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        # A null that became a section is no removed key: the keys of the section are listed as new.
        became_section = old is None and new is ABSENT and any(other_path[: len(path)] == path for other_path in after)
        if not is_equal(old, new) and not became_section:
            yield path, old, new


def is_equal(old: Any, new: Any) -> bool:
    """Compare values as YAML means them: 1 equals 1.0, but true does not equal 1."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_equal, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(is_equal(old[name], new[name]) for name in old)
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
