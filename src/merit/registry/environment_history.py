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

ENVIRONMENTS_FOLDER = artifacts.CONF / "environment"
GITHUB_COMMITTER = "noreply@github.com"
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


def read_environments(commit: str) -> dict[str, dict[str, Any]]:
    """Return the content of each environment's file at a commit, by environment name.

    Raises:
        MeritError: a file is not valid YAML, or not a mapping.
    """
    listing = git.run_git("ls-tree", "--name-only", commit, "--", f"{ENVIRONMENTS_FOLDER.as_posix()}/") or ""
    paths = [Path(line) for line in listing.splitlines() if line.endswith(".yaml")]
    return {path.stem: _load_file(commit, path) for path in paths}


def find_declarations(commit: str) -> dict[str, list[str]]:
    """Return the places that declare each version, such as `{"v3": ["staging", "production (canary)"]}`."""
    declarations: dict[str, list[str]] = {}
    for name, values in read_environments(commit).items():
        declared_versions = {name: values.get("version")}
        traffic = values.get("traffic")
        for role, settings in traffic.items() if isinstance(traffic, dict) else ():
            if isinstance(settings, dict):
                declared_versions[f"{name} ({role})"] = settings.get("version")
        for location, version in declared_versions.items():
            if version:
                declarations.setdefault(str(version), []).append(location)
    return declarations


def load_history(name: str, tip: str) -> list[Period]:
    """Return the periods of an environment, latest first.

    Args:
        name: the environment.
        tip: the commit whose first-parent history is read, normally main's.

    Raises:
        MeritError: that history has no such environment.
    """
    path = ENVIRONMENTS_FOLDER / f"{name}.yaml"
    periods = list(_read_periods(path, tip))
    if not periods:
        known_environments = ", ".join(read_environments(tip)) or "none yet"
        raise MeritError(f"history: {path} is not in main's history; environments there: {known_environments}")
    return periods[::-1]


def _read_periods(path: Path, tip: str) -> Iterator[Period]:
    log_format = "%H%x00%cI%x00%cn%x00%ce%x00%an%x00%B%x01"
    files = [each.as_posix() for each in (path, artifacts.LOCK)]
    output = git.run_git("log", "--first-parent", "--reverse", f"--format={log_format}", tip, "--", *files) or ""
    commits = [record.strip("\n").split("\0") for record in output.split("\1") if record.strip("\n")]
    relevant_commits = tags.find_declaring_commits(path, tip)
    declarations = [(_read_declaration(commit[0], path), commit) for commit in commits if commit[0] in relevant_commits]
    declarations = list(
        dropwhile(lambda each: each[0] is None, declarations)
    )  # the lock is listed too, and may be older
    changes = [each for index, each in enumerate(declarations) if index == 0 or declarations[index - 1][0] != each[0]]
    for place, (declaration, (commit, committed_at, committer, committer_email, author, message)) in enumerate(changes):
        until = datetime.fromisoformat(changes[place + 1][1][1]) if place + 1 < len(changes) else None
        merged_by = author if committer_email == GITHUB_COMMITTER else committer
        version, model, note = declaration or (None, None, "")
        reason = f"{note}{_summarize_message(message)}"
        yield Period(
            version,
            model,
            commit,
            datetime.fromisoformat(committed_at),
            until,
            merged_by,
            reason,
            _find_reverted_commit(message),
        )


def _read_declaration(commit: str, path: Path) -> tuple[str | None, str | None, str] | None:
    """Return the version that a commit declares, its model and a note on errors; None if the file does not exist there.

    Past commits can't be corrected, so an unreadable file affects its own period only and is not an error.
    """
    if git.read_file(commit, path) is None:
        return None
    try:
        value = _load_file(commit, path).get("version")
    except MeritError:
        return None, None, "(the file can't be read) "
    return (None, None, "") if value is None else (str(value), tags.read_model_name(commit), "")


def _load_file(commit: str, path: Path) -> dict[str, Any]:
    try:
        content = safe_yaml.load(git.read_file(commit, path) or "{}")
    except yaml.YAMLError as error:
        raise MeritError(f"{path} at {commit[:7]}: not valid YAML ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(content, dict):
        raise MeritError(f"{path} at {commit[:7]}: holds no keys")
    return content


def _summarize_message(message: str) -> str:
    subject, _, body = message.strip().partition("\n")
    first_line = body.strip().partition("\n")[0]
    return f"{subject}: {first_line}" if first_line and not first_line.startswith("This reverts commit") else subject


def _find_reverted_commit(message: str) -> str | None:
    if match := re.search(r"This reverts commit ([0-9a-f]{7,40})", message):
        return match[1]
    lines = [line for line in message.splitlines() if line.strip()][:2]
    return "" if any(line.startswith('Revert "') for line in lines) else None
