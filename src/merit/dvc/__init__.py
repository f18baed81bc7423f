"""outputs: what dvc.lock names, brought and checked. Every use of DVC goes through this package.

A hash in dvc.lock decides what DVC writes where, and nobody reads a hash. So each listing and each path is checked
before DVC may check anything out, whoever asks: `names` says which paths an output may have, `limits` how much there
may be, `listing` reads the listing of a folder, `lock` reads dvc.lock as text, `settings` what .dvc/ may say, `cache`
finds objects on this machine, `remote` brings them here, `repo` opens DVC's repository, and `restore` puts outputs in
their place.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from merit import artifacts, git
from merit.dvc import cache, listing, lock, remote
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.repo import Repo


def at(commit: str) -> dict[str, str] | None:
    """Return the hash of each output that the dvc.lock of a commit names, by its path; None if it has none.

    Raises:
        MeritError: it is no dvc.lock, or names what no output may be.
    """
    text = git.show(commit, artifacts.DVC_LOCK)
    return None if text is None else lock.outputs(text, f"{artifacts.DVC_LOCK} at {commit[:7]}")


def here() -> dict[str, str] | None:
    """Return the hash of each output that dvc.lock names, by its path; None if there is no dvc.lock.

    Raises:
        MeritError: it is no dvc.lock, or names what no output may be.
    """
    file = artifacts.DVC_LOCK
    if not file.is_file():
        return None
    if file.is_symlink() or file.stat().st_size > lock.MOST_CHARACTERS:
        raise MeritError(f"{file}: must be a plain file of at most {lock.MOST_CHARACTERS:,} bytes; restore it from Git")
    return lock.outputs(file.read_text(encoding="utf-8", errors="replace"), str(file))


def fetch(commit: str, path: Path, target: Path) -> None:
    """Bring an output, or a file of one, as a commit's dvc.lock names it, out of DVC's cache or its remote to `target`.

    Raises:
        MeritError: neither has it, or it may not be brought here.
    """
    name, named = path.as_posix(), at(commit) or {}
    output = next((each for each in named if name == each or name.startswith(f"{each}/")), None)
    if output is None:
        raise MeritError(f"{artifacts.DVC_LOCK} at {commit[:7]} names no {name}")
    inner = name[len(output) + 1 :]
    files = _files(output, named[output])
    chosen = {"": files[inner]} if inner in files else files
    if inner and inner not in files:
        raise MeritError(f"{output} at {commit[:7]} has no {inner}")
    for each, source in chosen.items():
        copy(source, target / each if each else target)


def copy(source: Path, target: Path) -> None:
    """Copy a file out of DVC's cache.

    Raises:
        MeritError: it is not what its name there says.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if cache.file_hash(target) != source.parent.name + source.name:
        target.unlink()
        raise MeritError(f"{source}: is not what its name says; delete it, then 'merit pull' brings it again")


def _files(output: str, md5: str) -> dict[str, Path]:
    """Return where the cache has each file of an output, which is brought if need be; a single file has no name."""
    for tries in (True, False):
        if md5.endswith(listing.SUFFIX):
            files = cache.files(md5, output)
        else:
            files = None if (file := cache.file(md5)) is None else {"": file}
        if files is not None:
            return files
        if tries:
            bring({md5: output})
    raise MeritError(f"DVC's remote lacks {output} ({md5}); 'dvc push' where it is")


def bring(wanted: dict[str, str]) -> None:
    """Bring outputs into DVC's cache; what the remote lacks stays missing.

    Args:
        wanted: the path of each output, which messages name, by its hash.

    Raises:
        remote.Unreachable: there is no remote, or it can't be asked.
        MeritError: an output may not be brought here.
    """
    with opened("pull") as repo:
        remote.bring(repo, wanted)


@contextmanager
def opened(command: str) -> Iterator["Repo"]:
    """Yield DVC's repository, checked; what DVC raises is a line that begins with the command's name.

    Raises:
        MeritError: something in it is not allowed, or DVC says no.
    """
    from dvc.exceptions import DvcException

    from merit.dvc import repo

    try:
        with repo.opened() as dvc:
            yield dvc
    except DvcException as error:
        raise MeritError(f"{command}: {' '.join(str(error).split())[:300]}") from error


def pull() -> int:
    """Bring everything that dvc.lock and files of 'dvc add' name, and put it in its place; return how many outputs.

    Raises:
        Refused: what is here and in no cache would be lost.
        MeritError: something is nowhere, or may not be brought here.
    """
    from merit.dvc import restore

    with opened("pull") as repo:
        return restore.everything(repo)
