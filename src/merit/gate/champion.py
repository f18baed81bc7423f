"""Finds the champion through the target branch's dvc.lock in Git, and fetches its package and data with DVC."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from merit import artifacts, dvc, git, safe_yaml
from merit.config.schema.data import Data
from merit.dvc import cache
from merit.errors import MeritError

if TYPE_CHECKING:
    from merit.scoring.package import Package


@dataclass(frozen=True)
class Champion:
    """The model of the target branch.

    Attributes:
        commit: the commit whose dvc.lock names it.
        output_hashes: the DVC hash of every output in that dvc.lock, by path.
    """

    commit: str
    output_hashes: dict[str, str]

    @property
    def package_hash(self) -> str:
        """The DVC hash of the champion's package."""
        return self.output_hashes[artifacts.PACKAGE.as_posix()]

    @property
    def data_hash(self) -> str | None:
        """The DVC hash of the champion's data; None if its dvc.lock names none."""
        return self.output_hashes.get(artifacts.RAW.as_posix())

    def has_same_data(self) -> bool:
        """Return whether the candidate's data is the champion's, bit for bit."""
        return self.data_hash == _compute_md5(artifacts.RAW)

    def read_data_section(self) -> Data:
        """Return the `data` section of the champion's params.yaml.

        Raises:
            MeritError: this version of merit can't read the section.
        """
        try:
            return Data.model_validate(safe_yaml.load(git.read_file(self.commit, artifacts.LOCK) or "")["data"])
        except (yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
            raise MeritError(f"its {artifacts.LOCK} describes its data in a format that merit can't read") from error

    @contextmanager
    def fetch_data(self) -> Iterator[Path]:
        """Fetch the champion's data from DVC's cache or remote into a temporary file, and yield its path.

        Raises:
            MeritError: neither the cache nor a remote has it.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / artifacts.RAW.name
            _fetch_output(self.commit, artifacts.RAW, path)
            yield path

    @contextmanager
    def fetch_seeds(self) -> Iterator[list[Path]]:
        """Fetch the graphs of the champion's other seeds into a temporary folder, and yield their paths.

        There are none if the commit has no stage `seeds`, or neither DVC's cache nor a remote has its output.
        """
        name = artifacts.SEEDS.as_posix()
        with tempfile.TemporaryDirectory(prefix="merit-champion-seeds-") as temporary_folder:
            folder = Path(temporary_folder) / artifacts.SEEDS.name
            if name in self.output_hashes:
                with suppress(MeritError):
                    dvc.copy_output(self.commit, artifacts.SEEDS, folder)
            yield sorted(folder.glob("*.onnx"))

    @contextmanager
    def fetch_package(self) -> Iterator["Package"]:
        """Fetch the champion's package from DVC's cache or remote, and yield it loaded.

        Raises:
            MeritError: neither the cache nor a remote has it, or it does not match its manifest.
        """
        from merit.scoring.package import Package

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / artifacts.PACKAGE.name
            _fetch_output(self.commit, artifacts.PACKAGE, path)
            yield Package.load(path)


def _compute_md5(file: Path) -> str:
    """Return the hash of a file as written in dvc.lock."""
    return cache.hash_file(artifacts.require_path(file, "run"))


def find_champion(name: str, ref: str | None = None) -> Champion | None:
    """Return the champion of a model, or None if there is none.

    Args:
        name: the model's name; a model of another name is no champion.
        ref: a branch, a tag or a commit; None for the merge base with main.

    Raises:
        MeritError: there is no such commit, or its dvc.lock can't be read.
    """
    commit = git.find_target_commit() if ref is None else git.resolve_commit(ref)
    if commit is None:
        if ref is None:
            return None
        raise MeritError(
            f"--against '{ref}': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
        )
    output_hashes = dvc.read_outputs_at(commit) or {}
    is_champion = artifacts.PACKAGE.as_posix() in output_hashes and _read_model_name(commit) in {None, name}
    return Champion(commit, output_hashes) if is_champion else None


def read_committed_name() -> str | None:
    """Return the model name in params.yaml at HEAD; None if there is none.

    Raises:
        MeritError: params.yaml can't be read.
    """
    head = git.get_head()
    return None if head is None else _read_model_name(head)


def describe_missing_champion() -> str:
    """Return the report's text for a missing champion, with the reason if Git can't find one."""
    reason = explain_unknown_target()
    return f"no champion yet: {reason}" if reason else "no champion yet"


def explain_unknown_target() -> str:
    """Return why Git can't determine the target branch; empty if it can."""
    if git.run_git("rev-parse", "--git-dir") is None:
        return "this is no Git repository"
    if not any(map(git.resolve_commit, git.MAIN_BRANCHES)) and not git.run_git("remote"):
        return "this repository has neither a main branch nor a remote, so this commit stands in for main"
    return ""


def _read_model_name(commit: str) -> str | None:
    """Return the model name in params.yaml at a commit; None if there is none.

    Raises:
        MeritError: params.yaml can't be read.
    """
    try:
        values = safe_yaml.load(git.read_file(commit, artifacts.LOCK) or "")
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"{artifacts.LOCK} at {commit[:7]}: not valid YAML ({reason}); restore it from Git") from error
    return values.get("name") if isinstance(values, dict) else None


def _fetch_output(commit: str, path: Path, destination: Path) -> None:
    try:
        dvc.copy_output(commit, path, destination)
    except MeritError as error:
        kind = "package" if path == artifacts.PACKAGE else "data"
        raise MeritError(f"its {kind} is neither in DVC's cache nor in a remote ({error})") from error
