"""Provides the `next:` lines of `merit run`: what to commit, and how to keep a model that overrides made."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.data import inputs

ALWAYS = (artifacts.CONF, artifacts.LOCK, artifacts.DVC_LOCK)


def way_back() -> str:
    """Return the advice that restores the model of conf/ after a run with overrides."""
    return f"'merit run' alone brings back the model that {artifacts.CONF}/ says"


def how_to_keep(overrides: Sequence[str]) -> list[str]:
    """Return the advice that makes a model of overrides the model of conf/, and the advice of `way_back`."""
    said = shlex.join(overrides)
    return [
        f"to keep this model, say {said} in {artifacts.CONF}/, then 'merit run': it is not trained again",
        way_back(),
    ]


def to_commit() -> list[str]:
    """Return the commands that commit the run with everything another clone needs; none if all is committed.

    Outside a Git repository there is nothing to advise.
    """
    if git.get_head() is None:
        return []
    lock = locks.read_lock()
    missing = inputs.find_missing_inputs(lock)
    others = [*(path for each in missing for path in each.git_paths), *_code(lock)]
    if not others and not _changed(ALWAYS):
        return []
    names = [path.as_posix() for path in dict.fromkeys([*others, *ALWAYS])]
    first = [f"'{command}', for large files are DVC's" for each in missing for command in each.dvc_commands]
    return [*first, f"'git add {shlex.join(names)}' and commit: the champion of the next candidates"]


def _code(lock: Lock) -> Iterator[Path]:
    """Yield the uncommitted packages of the project that the lock names, and pyproject.toml, which trusts them."""
    places = [place for name in lock.code for place in (Path(name), Path(f"{name}.py")) if place.exists()]
    yield from (place for place in [*places, *([Path("pyproject.toml")] if places else [])] if _changed([place]))


def _changed(paths: Sequence[Path]) -> bool:
    return bool(git.run_git("status", "--porcelain", "--ignored=no", "--", *map(str, paths)))
