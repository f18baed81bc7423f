"""Provides the `next:` lines of `merit run`: what to commit, and how to keep a model that overrides made."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.data import input_files

COMMITTED_PATHS = (artifacts.CONF, artifacts.LOCK, artifacts.DVC_LOCK)


def advise_restore() -> str:
    """Return the advice that restores the model of conf/ after a run with overrides."""
    return f"'merit run' alone brings back the model that {artifacts.CONF}/ says"


def advise_keep(overrides: Sequence[str]) -> list[str]:
    """Return the advice that makes a model of overrides the model of conf/, and the advice of `advise_restore`."""
    override_text = shlex.join(overrides)
    return [
        f"to keep this model, say {override_text} in {artifacts.CONF}/, then 'merit run': it is not trained again",
        advise_restore(),
    ]


def advise_commit() -> list[str]:
    """Return the commands that commit the run with everything another clone needs; none if all is committed.

    Outside a Git repository there is nothing to advise.
    """
    if git.get_head() is None:
        return []
    lock = locks.read_lock()
    missing_inputs = input_files.find_missing_inputs(lock)
    extra_paths = [
        *(path for missing_input in missing_inputs for path in missing_input.git_paths),
        *_list_uncommitted_code(lock),
    ]
    if not extra_paths and not _has_changes(COMMITTED_PATHS):
        return []
    names = [path.as_posix() for path in dict.fromkeys([*extra_paths, *COMMITTED_PATHS])]
    dvc_lines = [f"'{command}', for large files are DVC's" for each in missing_inputs for command in each.dvc_commands]
    return [*dvc_lines, f"'git add {shlex.join(names)}' and commit: the champion of the next candidates"]


def _list_uncommitted_code(lock: Lock) -> Iterator[Path]:
    """Yield the uncommitted packages of the project that the lock names, and pyproject.toml, which trusts them."""
    paths = [path for name in lock.code for path in (Path(name), Path(f"{name}.py")) if path.exists()]
    yield from (place for place in [*paths, *([Path("pyproject.toml")] if paths else [])] if _has_changes([place]))


def _has_changes(paths: Sequence[Path]) -> bool:
    return bool(git.run_git("status", "--porcelain", "--ignored=no", "--", *map(str, paths)))
