"""Downloads objects from DVC's remote into its cache: each listing first, then the files that the listings name.

The branch's .dvc/config names the remote, so the remote is untrusted: each object is verified against its hash, and the
limits in pyproject.toml are enforced before anything is downloaded.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit import artifacts
from merit.dvc import cache, limits, listing
from merit.dvc.limits import Limits
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.repo import Repo

NO_REMOTE_MESSAGE = "not in DVC's cache, and DVC has no remote here; name one by 'dvc remote add -d'"


class RemoteUnreachable(MeritError):
    """Raised if there is no remote or it can't be reached, so its content is unknown."""


def fetch_objects(repo: "Repo", paths_by_hash: dict[str, str]) -> None:
    """Download files and folders into DVC's cache; objects that the remote lacks are skipped.

    Args:
        repo: DVC's repository.
        paths_by_hash: the path of each output, used in messages, by its hash.

    Raises:
        RemoteUnreachable: there is no remote, or it can't be reached.
        MeritError: a check refuses what the remote has.
    """
    from dvc.config import NoRemoteError

    try:
        _fetch_checked(repo, paths_by_hash)
    except MeritError:
        raise
    except NoRemoteError as error:
        raise RemoteUnreachable(NO_REMOTE_MESSAGE) from error
    except Exception as error:  # each kind of remote raises exceptions of its own
        raise RemoteUnreachable(f"DVC's remote can't be reached ({' '.join(str(error).split())[:200]})") from error


def _fetch_checked(repo: "Repo", paths_by_hash: dict[str, str]) -> None:
    from dvc_data.hashfile.hash_info import HashInfo

    remote, allowed = repo.cloud.get_remote_odb(None, "pull"), limits.read_limits()
    remote.verify = True  # DVC discards objects that don't match their hash
    cache_folder, files = Path(repo.cache.local.path), set[str]()
    for md5, path in paths_by_hash.items():
        files |= (
            set(_fetch_listing(remote, cache_folder, md5, path, allowed))
            if md5.endswith(listing.FOLDER_SUFFIX)
            else {md5}
        )
    name = ", ".join(sorted(set(paths_by_hash.values()))[:3])
    allowed.check_files(len(files), name)
    missing = [md5 for md5 in sorted(files) if not cache.locate_object(cache_folder, md5).is_file()]
    sizes = _get_remote_sizes(remote, missing)
    allowed.check_bytes(sum(sizes.values()) + _count_local_bytes(cache_folder, files), name)
    if sizes:
        repo.cloud.pull([HashInfo("md5", md5) for md5 in sizes], odb=remote)


def _fetch_listing(remote: Any, cache_folder: Path, md5: str, path: str, allowed: Limits) -> Iterable[str]:
    """Return the hashes of a folder's files; its listing is downloaded if the cache lacks it."""
    if cache.locate_object(cache_folder, md5).is_file():
        return (cache.read_listing(cache_folder, md5, path) or {}).values()
    try:
        with remote.fs.open(remote.oid_to_path(md5), "rb") as handle:
            text = handle.read(listing.compute_max_bytes(allowed) + 1)
    except FileNotFoundError:
        return ()
    files = listing.parse_listing(text, md5, path, allowed)
    with artifacts.write_atomically(cache.locate_object(cache_folder, md5)) as aside:
        aside.write_bytes(text)
    return files.values()


def _get_remote_sizes(remote: Any, hashes: Collection[str]) -> dict[str, int]:
    """Return the size in bytes of each file that the remote has; files that it lacks are left out.

    Raises:
        MeritError: the remote doesn't report a size.
    """
    infos = remote.fs.info([remote.oid_to_path(md5) for md5 in hashes], return_exceptions=True) if hashes else []
    sizes: dict[str, int] = {}
    for md5, info in zip(hashes, infos, strict=True):
        if isinstance(info, FileNotFoundError) and not isinstance(info.__cause__, OSError):  # HTTP: the server is down
            continue
        if isinstance(info, BaseException):
            raise info
        if not isinstance(size := info.get("size"), int):
            raise MeritError(f"DVC's remote doesn't say how large {md5} is, so it is not downloaded")
        sizes[md5] = size
    return sizes


def _count_local_bytes(cache_folder: Path, hashes: Iterable[str]) -> int:
    paths = (cache.locate_object(cache_folder, md5) for md5 in hashes)
    return sum(path.stat().st_size for path in paths if path.is_file())


def push_objects(repo: "Repo", hashes: Collection[str]) -> int:
    """Upload objects from DVC's cache to its remote; return how many were new there.

    A folder's listing is uploaded only after all its files.

    Raises:
        MeritError: the remote can't be written to, or rejects an object.
    """
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        result = repo.cloud.push([HashInfo("md5", md5) for md5 in sorted(hashes)])
    except Exception as error:  # each kind of remote raises exceptions of its own
        raise MeritError(f"DVC's remote can't be written to ({' '.join(str(error).split())[:200]})") from error
    if result.failed:
        raise MeritError(f"DVC's remote did not take {len(result.failed)} of {len(hashes)} objects; try again")
    return len(result.transferred)
