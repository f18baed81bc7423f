"""A project whose dvc.lock, cache and remote hold what a test puts there, made by hand in milliseconds."""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from merit.dvc import cache

PATHS = ("../../.venv/x.pth", "../.git/hooks/post-checkout", "/merit-escaped", "..\\x", "a/../../x", ".git/hooks/x",
         "x.pth", "C:/x")  # fmt: skip
"""Paths in a listing that lead elsewhere, or that are code where they lie."""
REMOTE = Path("storage/files/md5")
"""DVC's remote in the project's folder, which Git ignores."""


@dataclass(frozen=True)
class Planted:
    """A project in the working folder: stages and what dvc.lock says of them."""

    git: Any

    def put(self, content: bytes, suffix: str = "", store: Path = cache.DEFAULT_CACHE) -> str:
        """Put an object into the cache, or into the remote; return its hash."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
        path = cache.locate_object(store, md5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        return md5

    def listing(self, *paths: str, store: Path = cache.DEFAULT_CACHE, content: bytes = b"evil") -> str:
        """Put a listing of such paths, and the file that all of them are; return its hash."""
        md5 = self.put(content, store=store)
        entries = [{"md5": md5, "relpath": path} for path in paths]
        return self.put(json.dumps(entries).encode(), ".dir", store)

    def lock(self, *outs: dict[str, Any], yaml_outs: list[Any] | None = None, **stage: Any) -> None:
        """Write dvc.yaml with one stage of these outputs, and the dvc.lock of it; commit both."""
        locked = [{"hash": "md5", **out} for out in outs]
        declared = [out["path"] for out in outs] if yaml_outs is None else yaml_outs
        package = {"cmd": "true", **stage, "outs": declared}
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"package": package}}))
        stages = {"package": {"cmd": "true", "outs": locked}}
        Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))

    def commit(self) -> str:
        """Commit all that Git doesn't ignore; return the commit."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "planted")
        return str(self.git("rev-parse", "HEAD"))

    def huge(self, gigabytes: float, store: Path = cache.DEFAULT_CACHE) -> str:
        """Put a file of so many bytes, of which the disk keeps none; return the hash that it goes by."""
        md5 = self.put(b"huge", store=store)
        os.truncate(cache.locate_object(store, md5), int(gigabytes * 1e9))
        return md5


def make(git: Any) -> Planted:
    """Make the project in the working folder, a Git repository."""
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../storage\n")
    Path(".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    Path(".gitignore").write_text("/model/\n/data/\n/storage/\n/.merit/\n/.venv/\n")
    Path(".venv").mkdir()
    Path(".git/hooks").mkdir()
    REMOTE.mkdir(parents=True)
    return Planted(git)


def escaped() -> list[str]:
    """Return what was written where no output may be."""
    found = [path for place in (".venv", ".git/hooks") for path in Path(place).iterdir() if path.suffix != ".sample"]
    outside = (Path("../x"), Path("x"), Path("model"), Path(PATHS[2]))
    return [str(path) for path in (*found, *outside) if path.exists()]


def empty(store: Path) -> None:
    """Remove all objects of a cache or a remote."""
    shutil.rmtree(store)
    store.mkdir()


def head() -> str:
    """Return the commit that is checked out."""
    return subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
