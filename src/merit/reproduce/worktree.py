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

WORKTREES_FOLDER = Path(".merit/reproduce")
DVC_CONFIG = "[core]\n    autostage = false\n[cache]\n    dir = cache\n"
"""DVC's local settings in the worktree: an empty cache, so that no stage is restored instead of computed."""
SQLITE_PREFIX = "sqlite:///"


@contextmanager
def check_out_worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a new worktree and yield the absolute path of the project in it.

    Raises:
        MeritError: Git can't create the worktree.
    """
    remove_worktrees()
    path = WORKTREES_FOLDER / commit[:12]
    try:
        if git.run_git("worktree", "add", "--quiet", "--detach", str(path), commit) is None:
            raise MeritError(f"git worktree add {path}: refused by Git; check that '{WORKTREES_FOLDER}' can be written")
        yield (path / (git.run_git("rev-parse", "--show-prefix") or "")).absolute()
    finally:
        remove_worktrees()


def remove_worktrees() -> None:
    """Remove every worktree under WORKTREES_FOLDER, from disk and from Git's list.

    The caller must hold the reproduction lock.
    """
    folder = WORKTREES_FOLDER.resolve()
    listing = (git.run_git("worktree", "list", "--porcelain") or "").splitlines()
    paths = [Path(line.removeprefix("worktree ")) for line in listing if line.startswith("worktree ")]
    for path in paths:
        if folder in path.parents:
            with suppress(MeritError):  # an incomplete worktree; rmtree removes it below
                git.run_git("worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(WORKTREES_FOLDER, ignore_errors=True)


def prepare_worktree(root: Path, params: dict[str, Any]) -> list[str]:
    """Prepare a worktree: its own DVC cache, links to source files that Git doesn't have, and offline tracking.

    Args:
        root: the project folder in the worktree.
        params: the content of its params.yaml.

    Returns:
        The source files that are linked from the workspace.
    """
    if (root / ".dvc").is_dir():
        (root / ".dvc" / "config.local").write_text(DVC_CONFIG, encoding="utf-8")
    tracking = params.get("tracking")
    if isinstance(tracking, dict) and tracking.get("mode") == "online":
        text = yaml.safe_dump(params | {"tracking": tracking | {"mode": "offline"}}, sort_keys=False)
        (root / artifacts.LOCK).write_text(text, encoding="utf-8")
    return [name for name in _find_relative_paths(params) if _link_source_file(name, root)]


def build_environment(root: Path) -> dict[str, str]:
    """Return the environment variables of the stages: the worktree's code comes first, runs stay in the worktree."""
    source = [str(root / "src")] if (root / "src").is_dir() else []
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MLFLOW_TRACKING_URI": f"{SQLITE_PREFIX}mlflow.db",
    }


def _find_relative_paths(params: dict[str, Any]) -> list[str]:
    """Return the source's arguments that may be relative file paths."""
    source = (params.get("data") or {}).get("source") or {}
    texts = (value.removeprefix(SQLITE_PREFIX) for value in source.values() if isinstance(value, str))
    return [text for text in texts if text and not Path(text).is_absolute() and ".." not in Path(text).parts]


def _link_source_file(name: str, root: Path) -> bool:
    """Link a file from the workspace into the worktree if the worktree lacks it; return whether it was linked."""
    original, link = Path(name).absolute(), root / name
    try:
        if not original.exists() or link.exists():
            return False
    except OSError:  # not a path, such as a long SQL query
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(original)
    return True
