"""Parses the text of a dvc.lock, from the workspace or a commit: the hash of each output."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from merit import safe_yaml
from merit.dvc import paths
from merit.errors import MeritError

MAX_LOCK_CHARACTERS = 16_000_000
HASH_PATTERN = re.compile(r"[0-9a-f]{32}(\.dir)?")


def parse_outputs(text: str, name: str) -> dict[str, str]:
    """Return the hash of each output in a dvc.lock, by path.

    Args:
        text: the content of the file.
        name: the file's name, used in messages.

    Raises:
        MeritError: the text is not a valid dvc.lock, or names a path that no output may have.
    """
    hashes: dict[str, str] = {}
    for out in _iterate_outputs(text, name):
        path, md5 = out.get("path"), out.get("md5")
        if not isinstance(path, str) or (reason := paths.find_fault(path)):
            raise _create_error(
                name, f"its output {paths.escape_path(path)} {reason if isinstance(path, str) else 'is no path'}"
            )
        if not isinstance(md5, str) or not HASH_PATTERN.fullmatch(md5):
            raise _create_error(name, f"its output '{path}' has an invalid hash")
        if path in hashes:
            raise _create_error(name, f"it names the output '{path}' twice")
        hashes[path] = md5
    if path := paths.find_clash(hashes):
        raise _create_error(name, f"it names the output '{path}' twice, or as a folder of another")
    return hashes


def _iterate_outputs(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the outputs of all stages, lazily: with YAML aliases a few lines can expand to billions of outputs."""
    if len(text) > MAX_LOCK_CHARACTERS:
        raise _create_error(name, f"it is longer than {MAX_LOCK_CHARACTERS:,} characters")
    try:
        safe_yaml.check_limits(text)
        # BaseLoader keeps every scalar as text: a hash of digits only must not become a number.
        values = yaml.load(text, getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506  # builds text only
        for stage in values["stages"].values():
            yield from map(dict, stage.get("outs") or [])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _create_error(name, "it can't be read as stages with outputs") from error


def _create_error(name: str, reason: str) -> MeritError:
    return MeritError(f"{name}: not a lock of DVC's ({reason}); restore it from Git")
