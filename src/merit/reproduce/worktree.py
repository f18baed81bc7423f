"""Creates a clean Git worktree of a commit under .merit/ and removes it, and any leftover of a killed run."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from merit import artifacts, git
from merit.errors import MeritError

FOLDER = Path(".merit/reproduce")
CACHE = "[core]\n    autostage = false\n[cache]\n    dir = cache\n"
"""DVC's local settings in the worktree: an empty cache, so that no stage is restored instead of computed."""
SQLITE = "sqlite:///"


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a new worktree and yield the absolute path of the project in it.

    Raises:
        MeritError: Git can't create the worktree.
    """
    sweep()
    place = FOLDER / commit[:12]
    try:
        if git.git("worktree", "add", "--quiet", "--detach", str(place), commit) is None:
            raise MeritError(f"git worktree add {place}: Git says no; see whether '{FOLDER}' can be written")
        yield (place / (git.git("rev-parse", "--show-prefix") or "")).absolute()
    finally:
        sweep()


def sweep() -> None:
    """Remove every worktree under FOLDER, from disk and from Git's list; the caller must hold the reproduction lock."""
    there = FOLDER.resolve()
    listed = (git.git("worktree", "list", "--porcelain") or "").splitlines()
    places = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
    for place in places:
        if there in place.parents:
            with suppress(MeritError):  # an incomplete worktree; rmtree removes it below
                git.git("worktree", "remove", "--force", "--force", str(place))
    shutil.rmtree(FOLDER, ignore_errors=True)


def prepare(root: Path, values: dict[str, Any]) -> list[str]:
    """Prepare a worktree: its own DVC cache, links to source files that Git doesn't have, and offline tracking.

    Args:
        root: the project folder in the worktree.
        values: the content of its params.yaml.

    Returns:
        The source files that are linked from the workspace.
    """
    if (root / ".dvc").is_dir():
        (root / ".dvc" / "config.local").write_text(CACHE, encoding="utf-8")
    tracking = values.get("tracking")
    if isinstance(tracking, dict) and tracking.get("mode") == "online":
        text = yaml.safe_dump(values | {"tracking": tracking | {"mode": "offline"}}, sort_keys=False)
        (root / artifacts.LOCK).write_text(text, encoding="utf-8")
    return [name for name in _named(values) if _lent(name, root)]


def environment(root: Path) -> dict[str, str]:
    """Return the environment variables of the stages: the worktree's code comes first, runs stay in the worktree."""
    source = [str(root / "src")] if (root / "src").is_dir() else []
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MLFLOW_TRACKING_URI": f"{SQLITE}mlflow.db",
    }


def _named(values: dict[str, Any]) -> list[str]:
    """Return the source's arguments that may be relative file paths."""
    source = (values.get("data") or {}).get("source") or {}
    texts = (value.removeprefix(SQLITE) for value in source.values() if isinstance(value, str))
    return [text for text in texts if text and not Path(text).is_absolute() and ".." not in Path(text).parts]


def _lent(name: str, root: Path) -> bool:
    """Link a file from the workspace into the worktree if the worktree lacks it; return whether it was linked."""
    here, there = Path(name).absolute(), root / name
    try:
        if not here.exists() or there.exists():
            return False
    except OSError:  # not a path, such as a long SQL query
        return False
    there.parent.mkdir(parents=True, exist_ok=True)
    there.symlink_to(here)
    return True
