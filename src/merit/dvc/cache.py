"""Finds files and folders in DVC's cache by their hashes in dvc.lock, such as `abc.dir`, and computes such hashes.

Every read from the cache verifies the content against its hash: DVC trusts its cache, but other processes can write to
it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from merit.dvc import limits, listing, settings
from merit.errors import MeritError

DEFAULT_CACHE = Path(".dvc/cache/files/md5")
"""The default location of DVC's cache."""


def hash_folder(folder: Path) -> str:
    """Return DVC's hash of a folder, such as `abc.dir`."""
    return hash_listing(hash_files(folder))


def hash_files(folder: Path) -> dict[str, str]:
    """Return DVC's hash of each file in a folder, by its path in the folder."""
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in folder.rglob("*") if path.is_file()}


def hash_listing(files: Mapping[str, str]) -> str:
    """Return DVC's hash of a folder with these files: the MD5 of its listing as DVC writes it, and `.dir`.

    Args:
        files: the MD5 of each file, by its path in the folder.
    """
    text = json.dumps([{"md5": files[name], "relpath": name} for name in sorted(files)], sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + listing.FOLDER_SUFFIX


def hash_file(file: Path) -> str:
    """Return DVC's hash of a file: the MD5 of its content."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def find_files(md5: str, folder: str = "model") -> dict[str, Path] | None:
    """Return the cache path of each file in a folder; None if the cache lacks the listing or a file.

    Args:
        md5: the folder's hash.
        folder: the path of the output, used in messages.

    Raises:
        MeritError: the cached listing doesn't match its hash, or names a path that no output may have.
    """
    for cache_folder in find_cache_folders():
        hashes = read_listing(cache_folder, md5, folder)
        if hashes is not None:
            paths = {name: locate_object(cache_folder, each) for name, each in hashes.items()}
            if all(path.is_file() for path in paths.values()):
                return paths
    return None


def find_file(md5: str) -> Path | None:
    """Return the cache path of a file; None if the cache lacks it."""
    return next(
        (path for cache_folder in find_cache_folders() if (path := locate_object(cache_folder, md5)).is_file()), None
    )


def read_listing(cache_folder: Path, md5: str, folder: str) -> dict[str, str] | None:
    """Return the hash of each file in a folder's cached listing, by path; None if the cache lacks the listing.

    Raises:
        MeritError: the listing doesn't match its hash, or names a path that no output may have.
    """
    path = locate_object(cache_folder, md5)
    if not path.is_file():
        return None
    allowed = limits.read_limits()
    with path.open("rb") as handle:
        text = handle.read(listing.compute_max_bytes(allowed) + 1)
    try:
        return listing.parse_listing(text, md5, folder, allowed)
    except MeritError as error:
        raise MeritError(f"{error}; it is {path}: delete it if dvc.lock is as it should be") from error


def locate_object(cache_folder: Path, md5: str) -> Path:
    """Return the path of an object in a cache, whether or not the cache has it."""
    return cache_folder / md5[:2] / md5[2:]


def find_cache_folders() -> Iterator[Path]:
    """Yield the folders that may hold DVC's cache, the default first.

    The configured one comes second because finding it loads DVC, which is slow.
    """
    yield DEFAULT_CACHE
    if (path := _find_configured_folder(Path.cwd())) is not None and path != DEFAULT_CACHE.absolute():
        yield path


@cache
def _find_configured_folder(project: Path) -> Path | None:
    """Return the cache folder that DVC's settings name; None if there is no usable DVC repository."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        settings.check_settings(Path(Repo.find_root()))
        with Repo() as repo:
            return Path(repo.cache.local.path)
    except DvcException:
        return None
