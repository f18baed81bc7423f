"""Inputs: the files that the source reads, and whether another clone of this repository would have them.

On the shared floor: a version is refused without them, a run says what to commit, the doctor looks.
"""

import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from merit import git, safe_yaml
from merit.config import targets
from merit.config.schema import Lock
from merit.dvc import cache

SQLITE = "sqlite:///"
MOST_BYTES = 10_000_000
"""The size from which a file is better kept by DVC than by Git."""


@dataclass(frozen=True)
class MissingInput:
    """A file that the source reads and that another clone would not have, or have otherwise.

    Attributes:
        path: the file, relative to the project's folder.
        problem: what is wrong with it.
        tracked_by_dvc: what DVC tracks and holds it: the file itself or a folder above it; None if it does not.
    """

    path: Path
    problem: str
    tracked_by_dvc: Path | None = None

    @property
    def commands(self) -> list[str]:
        """What DVC is to be told first, if it is to keep the file; Git comes after."""
        if self.tracked_by_dvc is not None:
            return [f"dvc add {self.tracked_by_dvc.as_posix()}"]
        is_large = self.path.is_file() and self.path.stat().st_size >= MOST_BYTES
        return [f"dvc add {self.path.as_posix()}"] if is_large else []

    @property
    def added(self) -> list[Path]:
        """What Git is to be given after that."""
        if not self.commands:
            return [self.path]
        tracked = self.tracked_by_dvc or self.path
        return [_pointer(tracked), tracked.with_name(".gitignore")]

    def __str__(self) -> str:
        """Return the problem, and what to do about it."""
        commands = [*self.commands, f"git add {' '.join(path.as_posix() for path in self.added)}"]
        return f"{self.path.as_posix()} {self.problem}; {' && '.join(commands)}, then commit"


def missing_inputs(lock: Lock) -> list[MissingInput]:
    """Return the files of the project that the source reads and that HEAD has neither in Git nor by DVC.

    Without a repository nobody else has anything; files outside of the project are not its to give.
    """
    if git.head() is None:
        return []
    return [missing for path in source_files(lock) if (missing := _missing(path)) is not None]


def source_files(lock: Lock) -> list[Path]:
    """Return the files of the project that the source reads, relative to its folder."""
    source = lock.data.source
    url = source.arguments.get("url")
    if isinstance(url, str) and url.startswith(SQLITE):
        paths = [Path(url.removeprefix(SQLITE).partition("?")[0])]
    else:
        reader: Any = targets.build(source.model_dump(by_alias=True))
        paths = [Path(path) for path in reader.files()] if callable(getattr(reader, "files", None)) else []
    here, installed = Path.cwd(), _installed()
    whole = [here / path for path in paths]
    inside = [path for path in whole if path.is_relative_to(here) and not any(map(path.is_relative_to, installed))]
    return [path.relative_to(here) for path in inside]


def _installed() -> list[Path]:
    """Return where packages are: a virtual environment often lies in the project's folder."""
    return [Path(sys.prefix), *map(Path, site.getsitepackages())]


def _missing(path: Path) -> MissingInput | None:
    name = path.as_posix()
    if git.git("ls-tree", "--name-only", "HEAD", "--", name):
        is_same = git.git("diff", "--quiet", "HEAD", "--", name) is not None
        return None if is_same else MissingInput(path, "is not as it is committed")
    for tracked in (path, *path.parents[:-1]):
        pointer = _pointer(tracked)
        if (hashes := _tracked_hashes(pointer)) is not None:
            return None if _has_hash(tracked, hashes) else MissingInput(path, f"is not what {pointer} names", tracked)
        if pointer.is_file():
            return MissingInput(path, f"is tracked by DVC, but {pointer} is not committed", tracked)
    return MissingInput(path, "is neither in Git nor tracked by DVC")


def _pointer(tracked: Path) -> Path:
    """Return the file by which DVC tracks another file or a folder."""
    return tracked.with_name(f"{tracked.name}.dvc")


def _tracked_hashes(pointer: Path) -> set[str] | None:
    """Return the hashes that a file of DVC's names as of HEAD; None if HEAD has no such file."""
    text = git.show("HEAD", pointer)
    return None if text is None else set(_hashes(text))


def _hashes(text: str) -> Iterator[str]:
    try:
        outs = safe_yaml.load(text)["outs"]
        yield from (str(out["md5"]) for out in outs)
    except (yaml.YAMLError, KeyError, TypeError):
        return


def _has_hash(tracked: Path, hashes: set[str]) -> bool:
    """Say whether what is here is what DVC tracks; what is not here yet is brought as that."""
    if tracked.is_dir():
        return cache.folder_hash(tracked) in hashes
    return not tracked.exists() or cache.file_hash(tracked) in hashes
