"""The champion: the package and the data that the target branch's dvc.lock names, brought by DVC; Git says which."""

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
"""The outputs that make a model what it is, whoever packaged it and when, and where the candidate has them."""


@dataclass(frozen=True)
class Champion:
    """The model of the branch that this one would merge into.

    Attributes:
        commit: where its dvc.lock was read.
        outputs: the DVC hash of every output of that lock.
    """

    commit: str
    outputs: dict[str, str]

    @property
    def package_hash(self) -> str:
        """The DVC hash of its package."""
        return self.outputs[artifacts.PACKAGE.as_posix()]

    def is_candidate(self) -> bool:
        """Say whether the candidate is this very model, bit for bit, by its files and not by what a lock says."""
        return all(self.outputs.get(name) == _md5(file) for name, file in IDENTITY.items())

    @property
    def data_hash(self) -> str | None:
        """The DVC hash of its data; None if its lock names none."""
        return self.outputs.get(artifacts.RAW.as_posix())

    def has_this_data(self) -> bool:
        """Say whether the candidate's data is its data, bit for bit."""
        return self.data_hash == _md5(artifacts.RAW)

    def data(self) -> Data:
        """Return what its params.yaml says of its data.

        Raises:
            MeritError: it says so in a form that this merit doesn't read.
        """
        try:
            return Data.model_validate(safe_yaml.load(git.show(self.commit, artifacts.LOCK) or "")["data"])
        except (yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
            raise MeritError(f"its {artifacts.LOCK} tells of its data in another form than this merit reads") from error

    @contextmanager
    def fetched_data(self) -> Iterator[Path]:
        """Bring its data out of DVC's cache or remote.

        Raises:
            MeritError: neither has it.
        """
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / artifacts.RAW.name
            _fetch(self.commit, artifacts.RAW, place)
            yield place

    @contextmanager
    def fetched(self) -> Iterator["Package"]:
        """Bring its package out of DVC's cache or remote and load it.

        Raises:
            MeritError: neither has it, or it is not what its manifest says.
        """
        from merit.scoring.package import Package

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / artifacts.PACKAGE.name
            _fetch(self.commit, artifacts.PACKAGE, place)
            yield Package.load(place)


def _md5(file: Path) -> str:
    """Return the hash of a file as DVC's locks have it."""
    return cache.file_hash(artifacts.require(file, "run"))


def find(name: str, against: str | None = None) -> Champion | None:
    """Return the champion of the model `name` at REF, by default at the merge base with main; None if there is none.

    Raises:
        MeritError: REF is no commit, or its dvc.lock can't be read.
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
    """Return what a report says where there is no champion, and why Git can't know of one if it can't."""
    why = unknown()
    return f"no champion yet: {why}" if why else "no champion yet"


def unknown() -> str:
    """Return why Git can't say what this would merge into; empty if it can."""
    if git.git("rev-parse", "--git-dir") is None:
        return "this is no Git repository"
    if not any(map(git.resolve, git.MAIN)) and not git.git("remote"):
        return "Git has no main here and no other place to ask, so this commit stands for it"
    return ""


def _name_at(commit: str) -> str | None:
    """Return the name of the model that the lock of a commit is of.

    Raises:
        MeritError: the lock can't be read.
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
