"""Input files of the data source, and whether another clone of the repository would have them.

A shared module: `register` refuses a version whose inputs are missing, a run says what to commit, and the doctor
reports it.
"""

import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from merit import git, safe_yaml
from merit.config.components import targets
from merit.config.schema import Lock
from merit.data import source_table
from merit.dvc import cache

SQLITE_PREFIX = "sqlite:///"
MAX_GIT_BYTES = 10_000_000
"""The size from which DVC rather than Git should hold a file."""


@dataclass(frozen=True)
class MissingInput:
    """An input file of the source that another clone would lack, or have with other content.

    Attributes:
        path: the file, relative to the project's folder.
        problem: what is wrong with the file, as the end of a sentence that starts with its path.
        tracked_by_dvc: the path that DVC tracks, the file itself or a folder above it; None if there is none.
    """

    path: Path
    problem: str
    tracked_by_dvc: Path | None = None

    @property
    def dvc_commands(self) -> list[str]:
        """The DVC commands to run before `git add`; none if Git itself should hold the file."""
        if self.tracked_by_dvc is not None:
            return [f"dvc add {self.tracked_by_dvc.as_posix()}"]
        is_large = self.path.is_file() and self.path.stat().st_size >= MAX_GIT_BYTES
        return [f"dvc add {self.path.as_posix()}"] if is_large else []

    @property
    def git_paths(self) -> list[Path]:
        """The paths to `git add` after the DVC commands."""
        if not self.dvc_commands:
            return [self.path]
        tracked = self.tracked_by_dvc or self.path
        return [_get_pointer_path(tracked), tracked.with_name(".gitignore")]

    def __str__(self) -> str:
        """Return the problem and its remedy in one line."""
        commands = [*self.dvc_commands, f"git add {' '.join(path.as_posix() for path in self.git_paths)}"]
        return f"{self.path.as_posix()} {self.problem}; {' && '.join(commands)}, then commit"


def find_missing_inputs(lock: Lock) -> list[MissingInput]:
    """Return the project's input files that HEAD holds neither in Git nor by DVC, or holds with other content.

    Without a commit there is nothing to compare with, so none is reported; files outside the project are not checked.
    """
    if git.get_head() is None:
        return []
    return [missing for path in list_source_files(lock) if (missing := _check_input(path)) is not None]


def list_source_files(lock: Lock) -> list[Path]:
    """Return the source's input files inside the project, relative to its folder.

    These are the SQLite database of a URL, or the files that the source class lists by its method `files`.
    """
    source = lock.data.source
    url = source.arguments.get("url")
    if isinstance(url, str) and url.startswith(SQLITE_PREFIX):
        paths = [Path(url.removeprefix(SQLITE_PREFIX).partition("?")[0])]
    else:
        reader: Any = targets.build_component(source.model_dump(by_alias=True))
        paths = source_table.list_files(reader)
    root, package_folders = Path.cwd(), _list_package_folders()
    absolute_paths = [root / path for path in paths]
    inside = [
        path
        for path in absolute_paths
        if path.is_relative_to(root) and not any(map(path.is_relative_to, package_folders))
    ]
    return [path.relative_to(root) for path in inside]


def _list_package_folders() -> list[Path]:
    """Return the folders of installed packages; a virtual environment often lies in the project's folder."""
    return [Path(sys.prefix), *map(Path, site.getsitepackages())]


def _check_input(path: Path) -> MissingInput | None:
    """Return what is wrong with an input file; None if HEAD holds it as it is here."""
    name = path.as_posix()
    if git.run_git("ls-tree", "--name-only", "HEAD", "--", name):
        is_unchanged = git.run_git("diff", "--quiet", "HEAD", "--", name) is not None
        return None if is_unchanged else MissingInput(path, "is not as it is committed")
    for tracked in (path, *path.parents[:-1]):
        pointer = _get_pointer_path(tracked)
        if (hashes := _read_tracked_hashes(pointer)) is not None:
            return (
                None
                if _matches_hashes(tracked, hashes)
                else MissingInput(path, f"is not what {pointer} names", tracked)
            )
        if pointer.is_file():
            return MissingInput(path, f"is tracked by DVC, but {pointer} is not committed", tracked)
    return MissingInput(path, "is neither in Git nor tracked by DVC")


def _get_pointer_path(tracked: Path) -> Path:
    """Return the `.dvc` file by which DVC tracks a file or folder."""
    return tracked.with_name(f"{tracked.name}.dvc")


def _read_tracked_hashes(pointer: Path) -> set[str] | None:
    """Return the hashes in a `.dvc` file at HEAD; None if HEAD has no such file."""
    text = git.read_file("HEAD", pointer)
    return None if text is None else set(_parse_hashes(text))


def _parse_hashes(text: str) -> Iterator[str]:
    """Yield the hashes in the text of a `.dvc` file; none if it is malformed."""
    try:
        outs = safe_yaml.load(text)["outs"]
        yield from (str(out["md5"]) for out in outs)
    except (yaml.YAMLError, KeyError, TypeError):
        return


def _matches_hashes(tracked: Path, hashes: set[str]) -> bool:
    """Return whether the local file or folder is what DVC tracks; an absent one would be fetched, so it counts."""
    if tracked.is_dir():
        return cache.hash_folder(tracked) in hashes
    return not tracked.exists() or cache.hash_file(tracked) in hashes
