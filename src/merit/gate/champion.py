"""Finds the champion through the target branch's dvc.lock in Git, and fetches its package and data with DVC."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from merit import artifacts, git, safe_yaml
from merit import dvc as outputs
from merit.config.schema.data import Data
from merit.dvc import cache
from merit.errors import MeritError

if TYPE_CHECKING:
    from merit.scoring.package import Package

IDENTITY = {
    artifacts.TRANSFORM.as_posix(): artifacts.TRANSFORM,
    artifacts.WEIGHTS.as_posix(): artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS,
}
"""The outputs that define a model independently of its packaging, and the candidate's files to compare with them."""


@dataclass(frozen=True)
class Champion:
    """The model of the target branch.

    Attributes:
        commit: the commit whose dvc.lock names it.
        outputs: the DVC hash of every output in that dvc.lock, by path.
    """

    commit: str
    outputs: dict[str, str]

    @property
    def package_hash(self) -> str:
        """The DVC hash of the champion's package."""
        return self.outputs[artifacts.PACKAGE.as_posix()]

    def is_candidate(self) -> bool:
        """Return whether the candidate is the same model, bit for bit; compares files, not the candidate's dvc.lock."""
        return all(self.outputs.get(name) == _md5(file) for name, file in IDENTITY.items())

    @property
    def data_hash(self) -> str | None:
        """The DVC hash of the champion's data; None if its dvc.lock names none."""
        return self.outputs.get(artifacts.RAW.as_posix())

    def has_this_data(self) -> bool:
        """Return whether the candidate's data is the champion's, bit for bit."""
        return self.data_hash == _md5(artifacts.RAW)

    def data(self) -> Data:
        """Return the `data` section of the champion's params.yaml.

        Raises:
            MeritError: this version of merit can't read the section.
        """
        try:
            return Data.model_validate(safe_yaml.load(git.show(self.commit, artifacts.LOCK) or "")["data"])
        except (yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
            raise MeritError(f"its {artifacts.LOCK} describes its data in a format that merit can't read") from error

    @contextmanager
    def fetched_data(self) -> Iterator[Path]:
        """Fetch the champion's data from DVC's cache or remote into a temporary file, and yield its path.

        Raises:
            MeritError: neither the cache nor a remote has it.
        """
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / artifacts.RAW.name
            _fetch(self.commit, artifacts.RAW, place)
            yield place

    @contextmanager
    def fetched(self) -> Iterator["Package"]:
        """Fetch the champion's package from DVC's cache or remote, and yield it loaded.

        Raises:
            MeritError: neither the cache nor a remote has it, or it does not match its manifest.
        """
        from merit.scoring.package import Package

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / artifacts.PACKAGE.name
            _fetch(self.commit, artifacts.PACKAGE, place)
            yield Package.load(place)


def _md5(file: Path) -> str:
    """Return the hash of a file as written in dvc.lock."""
    return cache.file_hash(artifacts.require(file, "run"))


def find(name: str, against: str | None = None) -> Champion | None:
    """Return the champion of a model, or None if there is none.

    Args:
        name: the model's name; a model of another name is no champion.
        against: a branch, a tag or a commit; None for the merge base with main.

    Raises:
        MeritError: there is no such commit, or its dvc.lock can't be read.
    """
    commit = git.target_commit() if against is None else git.resolve(against)
    if commit is None:
        if against is None:
            return None
        raise MeritError(
            f"--against '{against}': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
        )
    named = outputs.at(commit) or {}
    is_rival = artifacts.PACKAGE.as_posix() in named and _name_at(commit) in {None, name}
    return Champion(commit, named) if is_rival else None


def none_yet() -> str:
    """Return the report's text for a missing champion, with the reason if Git can't find one."""
    why = unknown()
    return f"no champion yet: {why}" if why else "no champion yet"


def unknown() -> str:
    """Return why Git can't determine the target branch; empty if it can."""
    if git.git("rev-parse", "--git-dir") is None:
        return "this is no Git repository"
    if not any(map(git.resolve, git.MAIN)) and not git.git("remote"):
        return "this repository has neither a main branch nor a remote, so this commit stands in for main"
    return ""


def _name_at(commit: str) -> str | None:
    """Return the model name in params.yaml at a commit; None if there is none.

    Raises:
        MeritError: params.yaml can't be read.
    """
    try:
        values = safe_yaml.load(git.show(commit, artifacts.LOCK) or "")
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"{artifacts.LOCK} at {commit[:7]}: not valid YAML ({reason}); restore it from Git") from error
    return values.get("name") if isinstance(values, dict) else None


def _fetch(commit: str, path: Path, place: Path) -> None:
    try:
        outputs.fetch(commit, path, place)
    except MeritError as error:
        what = "package" if path == artifacts.PACKAGE else "data"
        raise MeritError(f"its {what} is neither in DVC's cache nor in a remote ({error})") from error
