"""The only module that uses private parts of DVC: waiting for its lock, and how its run cache reads an entry."""

import copy
from functools import cache as memoize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit.dvc import cache, lockfile

if TYPE_CHECKING:
    from dvc.repo import Repo


def open_repository() -> "Repo":
    """Open DVC's repository with the verified run cache.

    It waits for DVC's lock; by default DVC gives up after 3 s if another process holds it.
    """
    from dvc.repo import Repo

    repo = Repo(_wait_for_lock=True)
    repo.stage_cache = _define_run_cache()(repo)
    return repo


@memoize
def _define_run_cache() -> type:
    """Return a subclass of DVC's run cache that ignores forged entries; a function, so that DVC is loaded late."""
    from dvc.stage.cache import StageCache, _get_cache_hash

    class VerifiedRunCache(StageCache):  # type: ignore[misc]  # DVC has no types
        """DVC's run cache, with verified entries: a forged entry could name any output."""

        def _load_cache(self, key: str, value: str) -> dict[str, Any] | None:
            entry: dict[str, Any] | None = super()._load_cache(key, value)
            if entry is None or _get_cache_hash(copy.deepcopy(entry), key=True) != key:
                return None
            for out in entry.get("outs", []):
                if (
                    out.get("files")
                    or out.get("hash") != "md5"
                    or not lockfile.HASH_PATTERN.fullmatch(str(out.get("md5")))
                ):
                    return None
                if str(out["md5"]).endswith(".dir"):
                    cache.read_listing(Path(self.repo.cache.local.path), out["md5"], out["path"])
            return entry

    return VerifiedRunCache
