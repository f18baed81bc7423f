"""A clean worktree of a commit, under .merit/: gone afterwards, and what a killed run left goes with the next one."""

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
"""DVC's own settings there: an empty cache of its own, wherever the project's is."""
SQLITE = "sqlite:///"


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a folder of its own; yields the place of the project in it, as an absolute path.

    Raises:
        MeritError: Git can't check it out.
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
    """Remove every worktree under FOLDER, here and from Git's list; nobody may work in one."""
    there = FOLDER.resolve()
    listed = (git.git("worktree", "list", "--porcelain") or "").splitlines()
    places = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
    for place in places:
        if there in place.parents:
            with suppress(MeritError):  # one that is half made
                git.git("worktree", "remove", "--force", "--force", str(place))
    shutil.rmtree(FOLDER, ignore_errors=True)


def prepare(root: Path, values: dict[str, Any]) -> list[str]:
    """Give a worktree a cache of its own, the files of the source that Git doesn't have, and no run to send anywhere.

    Args:
        root: the project in the worktree.
        values: its params.yaml.

    Returns:
        The files of the source that are taken from this folder.
    """
    if (root / ".dvc").is_dir():
        (root / ".dvc" / "config.local").write_text(CACHE, encoding="utf-8")
    tracking = values.get("tracking")
    if isinstance(tracking, dict) and tracking.get("mode") == "online":
        text = yaml.safe_dump(values | {"tracking": tracking | {"mode": "offline"}}, sort_keys=False)
        (root / artifacts.LOCK).write_text(text, encoding="utf-8")
    return [name for name in _named(values) if _lent(name, root)]


def environment(root: Path) -> dict[str, str]:
    """Return the environment of the stages: the worktree's own source first, and runs that stay in the worktree."""
    source = [str(root / "src")] if (root / "src").is_dir() else []
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MLFLOW_TRACKING_URI": f"{SQLITE}mlflow.db",
    }


def _named(values: dict[str, Any]) -> list[str]:
    """Return what may be files among the arguments of the source."""
    source = (values.get("data") or {}).get("source") or {}
    texts = (value.removeprefix(SQLITE) for value in source.values() if isinstance(value, str))
    return [text for text in texts if text and not Path(text).is_absolute() and ".." not in Path(text).parts]


def _lent(name: str, root: Path) -> bool:
    """Link a file that is here and not there; say whether it was."""
    here, there = Path(name).absolute(), root / name
    try:
        if not here.exists() or there.exists():
            return False
    except OSError:  # a text that is no path, such as a long query
        return False
    there.parent.mkdir(parents=True, exist_ok=True)
    there.symlink_to(here)
    return True
