"""Reads from Git which version each environment on main declares, now and in the past.

Each environment is a file `conf/environment/NAME.yaml`; each change of its version is a commit on main.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.errors import MeritError
from merit.registry import tags

FOLDER = artifacts.CONF / "environment"
ROBOT = "noreply@github.com"
"""The committer address that GitHub sets on merges made with its button; the person who merged is then the author."""


@dataclass(frozen=True)
class Period:
    """A period during which an environment declared one version.

    Attributes:
        version: such as `v3`; None if the environment declared no version.
        model: the model's name in params.yaml at that commit; None if it had none.
        commit: the commit that declared the version.
        since: when the commit reached main.
        until: when the next version replaced it; None for the current period.
        by: who merged the commit.
        why: the commit's subject and the first line of its body, preceded by a note if its file can't be read.
        reverts: the commit that this one reverts, empty for a revert that names none, None if it is not a revert.
    """

    version: str | None
    model: str | None
    commit: str
    since: datetime
    until: datetime | None
    by: str
    why: str
    reverts: str | None


def declared(commit: str) -> dict[str, dict[str, Any]]:
    """Return the content of each environment's file at a commit, by environment name.

    Raises:
        MeritError: a file is not valid YAML, or not a mapping.
    """
    listed = git.git("ls-tree", "--name-only", commit, "--", f"{FOLDER.as_posix()}/") or ""
    names = [Path(line) for line in listed.splitlines() if line.endswith(".yaml")]
    return {path.stem: _values(commit, path) for path in names}


def roles(commit: str) -> dict[str, list[str]]:
    """Return the places that declare each version, such as `{"v3": ["staging", "production (canary)"]}`."""
    found: dict[str, list[str]] = {}
    for name, values in declared(commit).items():
        places = {name: values.get("version")}
        traffic = values.get("traffic")
        for role, part in traffic.items() if isinstance(traffic, dict) else ():
            if isinstance(part, dict):
                places[f"{name} ({role})"] = part.get("version")
        for place, version in places.items():
            if version:
                found.setdefault(str(version), []).append(place)
    return found


def history(name: str, tip: str) -> list[Period]:
    """Return the periods of an environment, latest first.

    Args:
        name: the environment.
        tip: the commit whose first-parent history is read, normally main's.

    Raises:
        MeritError: that history has no such environment.
    """
    path = FOLDER / f"{name}.yaml"
    found = list(_changes(path, tip))
    if not found:
        known = ", ".join(declared(tip)) or "none yet"
        raise MeritError(f"history: {path} is not in main's history; environments there: {known}")
    return found[::-1]


def _changes(path: Path, tip: str) -> Iterator[Period]:
    form = "%H%x00%cI%x00%cn%x00%ce%x00%an%x00%B%x01"
    files = [each.as_posix() for each in (path, artifacts.LOCK)]
    text = git.git("log", "--first-parent", "--reverse", f"--format={form}", tip, "--", *files) or ""
    commits = [record.strip("\n").split("\0") for record in text.split("\1") if record.strip("\n")]
    counted = tags.declaring(path, tip)
    told = [(_version(commit[0], path), commit) for commit in commits if commit[0] in counted]
    told = list(dropwhile(lambda each: each[0] is None, told))  # the lock is listed too, and may be older
    kept = [each for place, each in enumerate(told) if place == 0 or told[place - 1][0] != each[0]]
    for place, (named, (commit, at, committer, mail, author, message)) in enumerate(kept):
        until = datetime.fromisoformat(kept[place + 1][1][1]) if place + 1 < len(kept) else None
        by = author if mail == ROBOT else committer
        version, model, fault = named or (None, None, "")
        why = f"{fault}{_why(message)}"
        yield Period(version, model, commit, datetime.fromisoformat(at), until, by, why, _reverts(message))


def _version(commit: str, path: Path) -> tuple[str | None, str | None, str] | None:
    """Return the version that a commit declares, its model and a note on errors; None if the file does not exist there.

    Past commits can't be corrected, so an unreadable file affects its own period only and is not an error.
    """
    if git.show(commit, path) is None:
        return None
    try:
        value = _values(commit, path).get("version")
    except MeritError:
        return None, None, "(the file can't be read) "
    return (None, None, "") if value is None else (str(value), tags.model_at(commit), "")


def _values(commit: str, path: Path) -> dict[str, Any]:
    try:
        found = safe_yaml.load(git.show(commit, path) or "{}")
    except yaml.YAMLError as error:
        raise MeritError(f"{path} at {commit[:7]}: not valid YAML ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(found, dict):
        raise MeritError(f"{path} at {commit[:7]}: holds no keys")
    return found


def _why(message: str) -> str:
    subject, _, body = message.strip().partition("\n")
    first = body.strip().partition("\n")[0]
    return f"{subject}: {first}" if first and not first.startswith("This reverts commit") else subject


def _reverts(message: str) -> str | None:
    if match := re.search(r"This reverts commit ([0-9a-f]{7,40})", message):
        return match[1]
    lines = [line for line in message.splitlines() if line.strip()][:2]
    return "" if any(line.startswith('Revert "') for line in lines) else None
