"""Reads the lock, and checks that conf/ still composes to it."""

from typing import Any

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError


def read_current_lock(section: str) -> Lock:
    """Return the lock, if a section of it agrees with conf/; it is composed only if a file is newer than the lock.

    Raises:
        MeritError: params.yaml doesn't exist, or conf/ was changed since and the section differs.
        ConfigError: as for `read`, or the schema refuses what conf/ says now.
    """
    lock = locks.read_lock()
    lock_mtime = artifacts.LOCK.stat().st_mtime_ns
    if any(file.stat().st_mtime_ns > lock_mtime for file in artifacts.CONF.rglob("*.yaml")):
        from merit.config.compose import compose_config
        from merit.config.documentation.explain import explain_composed, to_yaml_text

        composed = compose_config(data_access="nothing")
        current_values, locked_values = (
            each.model_dump(mode="json", by_alias=True)[section] for each in (composed.lock, lock)
        )
        if current_values != locked_values:
            path, locked_value = _find_first_change(current_values, locked_values, (section,))
            explanation = explain_composed(composed, ".".join(path))
            raise MeritError(
                f"{explanation.where}: {explanation.key} is {to_yaml_text(explanation.value)}, but {artifacts.LOCK} "
                f"says {to_yaml_text(locked_value)}; {locks.COMPOSE_HINT}"
            )
    return lock


def _find_first_change(new: Any, old: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """Return the first key whose value changed, and its value in the lock."""
    if isinstance(new, dict) and isinstance(old, dict) and new.keys() == old.keys():
        for name in new:
            if new[name] != old[name]:
                return _find_first_change(new[name], old[name], (*path, name))
    return path, old
