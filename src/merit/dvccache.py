"""Folders in DVC's cache and its remote, by the hash that dvc.lock gives them, such as `abc.dir`."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from merit.errors import MeritError

CACHE = Path(".dvc/cache/files/md5")
"""Where DVC keeps what it has, unless its configuration says otherwise."""


def folder_hash(folder: Path) -> str:
    """Return the hash by which DVC knows a folder, such as `abc.dir`."""
    return listing_hash(file_hashes(folder))


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the hash by which DVC knows each file of a folder, by its path there."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in folder.rglob("*") if path.is_file()}


def listing_hash(files: Mapping[str, str]) -> str:
    """Return the hash by which DVC knows the folder of these files."""
    text = json.dumps([{"md5": files[name], "relpath": name} for name in sorted(files)], sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def file_hash(file: Path) -> str:
    """Return the hash by which DVC knows a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def files(md5: str) -> dict[str, Path] | None:
    """Return where the cache holds each file of a folder; None if it lacks the folder or one of them."""
    for cache_folder in _caches():
        listing = cache_folder / md5[:2] / md5[2:]
        if not listing.is_file():
            continue
        found = {name: cache_folder / each[:2] / each[2:] for name, each in _listed(listing).items()}
        if all(path.is_file() for path in found.values()):
            return found
    return None


def _listed(listing: Path) -> dict[str, str]:
    """Return the hash of each file that a folder's listing in the cache names."""
    try:
        found: list[Mapping[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        files = {str(each["relpath"]): str(each["md5"]) for each in found}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MeritError(f"{listing}: can't be read ({' '.join(str(error).split())[:160]}); delete it") from error
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise MeritError(f"{listing}: names files outside of the package; delete it")
    return files


def _caches() -> Iterator[Path]:
    """Give the places where DVC's cache may be; DVC, slow to load, is asked only if the usual one lacks something."""
    yield CACHE
    if (place := _configured()) != CACHE.absolute():
        yield place


def _configured() -> Path:
    """Return where DVC's configuration puts its cache."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return Path(repo.cache.local.path)
    except DvcException:
        return CACHE


def fetch(commit: str, path: Path, place: Path) -> None:
    """Bring an output, as a commit's dvc.lock names it, out of DVC's cache or its remote to `place`.

    Raises:
        MeritError: neither has it; the line is DVC's reason.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    try:
        outputs = DVCFileSystem(".", rev=commit)
        outputs.get(path.as_posix(), str(place), recursive=outputs.isdir(path.as_posix()))
    except (DvcException, DataIndexDirError, OSError) as error:
        raise MeritError(" ".join(str(error).split())[:160]) from error


def pull(hashes: Sequence[str]) -> None:
    """Bring folders from DVC's remote into its cache; what the remote lacks stays lacking.

    Raises:
        MeritError: there is no remote, or it can't be asked.
    """
    from dvc.config import NoRemoteError
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        with Repo() as repo:
            repo.cloud.pull([HashInfo("md5", each) for each in hashes])
            # It brings what it is told: first the folders' listings, then what those name.
            cache = Path(repo.cache.local.path)
            there = [cache / each[:2] / each[2:] for each in hashes]
            named = {md5 for path in there if path.is_file() for md5 in _listed(path).values()}
            repo.cloud.pull([HashInfo("md5", each) for each in sorted(named)])
    except MeritError:
        raise
    except NoRemoteError as error:
        raise MeritError("not in DVC's cache, and DVC has no remote here; name one by 'dvc remote add -d'") from error
    except Exception as error:  # each kind of remote raises its own
        raise MeritError(f"DVC's remote can't be asked ({' '.join(str(error).split())[:200]})") from error
