"""Fetches and checks the outputs that dvc.lock names. Every use of DVC goes through this package.

A hash in dvc.lock decides which files DVC writes where, and a reviewer can't read a hash. So every listing and every
path is checked before DVC checks anything out:

- `names`: which paths an output may have.
- `limits`: how many files and bytes outputs may have.
- `listing`: parses the listing of a folder.
- `lock`: parses dvc.lock.
- `settings`: which DVC settings Git may bring.
- `cache`: finds objects in the local cache.
- `remote`: downloads objects from and uploads them to DVC's remote.
- `handed`: imports outputs that an untrusted CI job produced.
- `repo`: opens DVC's repository once all checks pass.
- `restore`: checks outputs out into the workspace.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from merit import artifacts, git
from merit.dvc import cache, listing, lockfile, remote
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.repo import Repo


def read_outputs_at(commit: str) -> dict[str, str] | None:
    """Return the hash of each output in the dvc.lock of a commit, by path; None if the commit has no dvc.lock.

    Raises:
        MeritError: dvc.lock is invalid, or names a path that no output may have.
    """
    text = git.read_file(commit, artifacts.DVC_LOCK)
    return None if text is None else lockfile.parse_outputs(text, f"{artifacts.DVC_LOCK} at {commit[:7]}")


def read_outputs() -> dict[str, str] | None:
    """Return the hash of each output in the workspace's dvc.lock, by path; None if there is no dvc.lock.

    Raises:
        MeritError: dvc.lock is invalid, or names a path that no output may have.
    """
    file = artifacts.DVC_LOCK
    if not file.is_file():
        return None
    if file.is_symlink() or file.stat().st_size > lockfile.MAX_LOCK_CHARACTERS:
        raise MeritError(
            f"{file}: must be a plain file of at most {lockfile.MAX_LOCK_CHARACTERS:,} bytes; restore it from Git"
        )
    return lockfile.parse_outputs(file.read_text(encoding="utf-8", errors="replace"), str(file))


def copy_output(commit: str, path: Path, target: Path) -> None:
    """Copy an output, or one of its files, as of a commit to `target`, from DVC's cache or else its remote.

    Args:
        commit: the commit whose dvc.lock names the output.
        path: the output, or a file in it, relative to the project.
        target: where to copy it.

    Raises:
        MeritError: neither the cache nor the remote has it, or a check refuses it.
    """
    name, hashes = path.as_posix(), read_outputs_at(commit) or {}
    output = next((each for each in hashes if name == each or name.startswith(f"{each}/")), None)
    if output is None:
        raise MeritError(f"{artifacts.DVC_LOCK} at {commit[:7]} names no {name}")
    inner_path = name[len(output) + 1 :]
    files = _find_files(output, hashes[output])
    selected = {"": files[inner_path]} if inner_path in files else files
    if inner_path and inner_path not in files:
        raise MeritError(f"{output} at {commit[:7]} has no {inner_path}")
    for each, source in selected.items():
        copy_from_cache(source, target / each if each else target)


def copy_from_cache(source: Path, target: Path) -> None:
    """Copy a file out of DVC's cache and verify its hash.

    Raises:
        MeritError: its content doesn't match its hash, which is its name in the cache.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if cache.hash_file(target) != source.parent.name + source.name:
        target.unlink()
        raise MeritError(f"{source}: is not what its name says; delete it, then 'merit pull' brings it again")


def _find_files(output: str, md5: str) -> dict[str, Path]:
    """Return the cache path of each file of an output, by its path in the output, downloaded if the cache lacks it.

    An output that is a single file has one entry, under the empty name.
    """
    for may_fetch in (True, False):
        if md5.endswith(listing.FOLDER_SUFFIX):
            files = cache.find_files(md5, output)
        else:
            files = None if (file := cache.find_file(md5)) is None else {"": file}
        if files is not None:
            return files
        if may_fetch:
            fetch_to_cache({md5: output})
    raise MeritError(f"DVC's remote lacks {output} ({md5}); 'dvc push' where it is")


def fetch_to_cache(paths_by_hash: dict[str, str]) -> None:
    """Download outputs into DVC's cache; outputs that the remote lacks are skipped.

    Args:
        paths_by_hash: the path of each output, used in messages, by its hash.

    Raises:
        remote.RemoteUnreachable: there is no remote, or it can't be reached.
        MeritError: a check refuses an output.
    """
    with open_repository("pull") as repo:
        remote.fetch_objects(repo, paths_by_hash)


@contextmanager
def open_repository(command: str) -> Iterator["Repo"]:
    """Yield DVC's repository after all checks; an exception of DVC's becomes a MeritError that begins with `command`.

    Raises:
        MeritError: a check refuses the repository, or DVC fails.
    """
    from dvc.exceptions import DvcException

    from merit.dvc import repository as repo

    try:
        with repo.open_checked() as dvc_repo:
            yield dvc_repo
    except DvcException as error:
        raise MeritError(f"{command}: {' '.join(str(error).split())[:300]}") from error


def pull() -> int:
    """Download and check out every output that dvc.lock and `dvc add` files name; return the number of outputs.

    Raises:
        Refused: a local change that no cache holds would be lost.
        MeritError: an output is neither in the cache nor in the remote, or a check refuses it.
    """
    from merit.dvc import restore

    with open_repository("pull") as repo:
        return restore.restore_all(repo)
