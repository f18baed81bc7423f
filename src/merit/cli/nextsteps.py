"""What to do after a run that passed: what is to be committed, and how a model of overrides is kept."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.data import inputs

ALWAYS = (artifacts.CONF, artifacts.LOCK, artifacts.DVC_LOCK)


def way_back() -> str:
    """Return how the model of conf/ comes back after one of overrides."""
    return f"'merit run' alone brings back the model that {artifacts.CONF}/ says"


def how_to_keep(overrides: Sequence[str]) -> list[str]:
    """Return how the model of overrides becomes that of conf/, and how that one comes back."""
    said = shlex.join(overrides)
    return [
        f"to keep this model, say {said} in {artifacts.CONF}/, then 'merit run': it is not trained again",
        way_back(),
    ]


def to_commit() -> list[str]:
    """Return the commands that commit the run with all that another clone needs for it; none if nothing is left to do.

    Without a repository that is nobody's question.
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
    """Yield the project's own packages that the lock names, and what trusts them, where they are not committed."""
    places = [place for name in lock.code for place in (Path(name), Path(f"{name}.py")) if place.exists()]
    yield from (place for place in [*places, *([Path("pyproject.toml")] if places else [])] if _changed([place]))


def _changed(paths: Sequence[Path]) -> bool:
    return bool(git.run_git("status", "--porcelain", "--ignored=no", "--", *map(str, paths)))
