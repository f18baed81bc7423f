"""Files and folders in DVC's cache, by the hashes that dvc.lock gives them, such as `abc.dir`.

Whatever is read out of the cache is held against its name at that moment: DVC trusts its cache, and anybody may have
written there since.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache as remembered
from pathlib import Path

from merit.dvc import limits, listing, settings
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
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + listing.SUFFIX


def file_hash(file: Path) -> str:
    """Return the hash by which DVC knows a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def files(md5: str, folder: str = "model") -> dict[str, Path] | None:
    """Return where the cache has each file of a folder; None if it lacks the folder or one of them.

    Args:
        md5: the folder's hash.
        folder: the path of the output, which messages name.

    Raises:
        MeritError: the cache has another listing under that name, or one that names what no output may have.
    """
    for store in folders():
        names = listed(store, md5, folder)
        if names is not None:
            paths = {name: path_in(store, each) for name, each in names.items()}
            if all(path.is_file() for path in paths.values()):
                return paths
    return None


def file(md5: str) -> Path | None:
    """Return where the cache has a file; None if it lacks it."""
    return next((path for store in folders() if (path := path_in(store, md5)).is_file()), None)


def listed(store: Path, md5: str, folder: str) -> dict[str, str] | None:
    """Return the hash of each file that a folder's listing in a cache names; None if the cache lacks the listing.

    Raises:
        MeritError: it is another listing than its name says, or it names what no output may have.
    """
    path = path_in(store, md5)
    if not path.is_file():
        return None
    allowed = limits.read()
    with path.open("rb") as handle:
        text = handle.read(listing.most_bytes(allowed) + 1)
    try:
        return listing.parse(text, md5, folder, allowed)
    except MeritError as error:
        raise MeritError(f"{error}; it is {path}: delete it if dvc.lock is as it should be") from error


def path_in(store: Path, md5: str) -> Path:
    """Return where a cache has what a hash names, if it has it."""
    return store / md5[:2] / md5[2:]


def folders() -> Iterator[Path]:
    """Give the places where DVC's cache may be; DVC, slow to load, is asked only if the usual one lacks something."""
    yield CACHE
    if (path := _configured(Path.cwd())) is not None and path != CACHE.absolute():
        yield path


@remembered
def _configured(project: Path) -> Path | None:
    """Return where DVC's settings put the cache of a project."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        settings.check(Path(Repo.find_root()))
        with Repo() as repo:
            return Path(repo.cache.local.path)
    except DvcException:
        return None
