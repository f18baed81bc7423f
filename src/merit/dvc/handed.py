"""Imports the outputs of an untrusted CI job into DVC's cache, after verifying them against dvc.lock."""

import json
import shutil
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.dvc import cache, limits, listing
from merit.dvc.limits import Limits
from merit.errors import MeritError

AFTER = "nothing was pushed"
MOST_BYTES = 1_000_000
"""The most bytes that are read of a manifest."""


def take(source: Path, named: dict[str, str], store: Path) -> set[str]:
    """Copy the outputs that a dvc.lock names from another job's cache into this one; return all hashes they consist of.

    Everything is verified first, so an error means that nothing was copied. Objects that the other job's cache lacks
    are skipped.

    Args:
        source: the other job's cache, `files/md5`.
        named: the hash of each output, by its path.
        store: this machine's cache.

    Raises:
        MeritError: an object doesn't match its hash, a listing names a path that no output may have, the package
            doesn't match its manifest, or the limits are exceeded.
    """
    allowed, hashes = limits.read(), set[str]()
    for path, md5 in named.items():
        file = _file(source, md5)
        if not md5.endswith(listing.SUFFIX) or file is None:
            hashes.add(md5)
            continue
        files = _listed(file, md5, path, allowed)
        if path == artifacts.PACKAGE.as_posix():
            _check_package(files, source, store)
        hashes |= {md5, *files.values()}
    given = {md5: file for md5 in sorted(hashes) if (file := _file(source, md5)) is not None}
    allowed.check_files(len(given), str(source))
    allowed.check_bytes(sum(file.stat().st_size for file in given.values()), str(source))
    for md5, file in given.items():
        if cache.file_hash(file) != md5.removesuffix(listing.SUFFIX):
            raise MeritError(f"{file}: its content is not what its name says; {AFTER}")
    for md5, file in given.items():
        with artifacts.written_aside(cache.path_in(store, md5)) as aside:
            shutil.copyfile(file, aside)
    return hashes


def _file(source: Path, md5: str) -> Path | None:
    """Return the path of an object in the other job's cache; None if it is not there.

    Raises:
        MeritError: it is a link, which could point to any file.
    """
    file = cache.path_in(source, md5)
    if file.is_symlink() or file.parent.is_symlink():
        raise MeritError(f"{file}: is a link; {AFTER}")
    return file if file.is_file() else None


def _listed(file: Path, md5: str, path: str, allowed: Limits) -> dict[str, str]:
    with file.open("rb") as handle:
        text = handle.read(listing.most_bytes(allowed) + 1)
    return listing.parse(text, md5, path, allowed)


def _check_package(files: dict[str, str], source: Path, store: Path) -> None:
    """Check that a package's listing has exactly the files of its manifest, with the manifest's hashes.

    Raises:
        MeritError: they differ.
    """
    paths = {name: _file(source, md5) or cache.path_in(store, md5) for name, md5 in files.items()}
    manifest = paths.get(artifacts.MANIFEST)
    expected = _files_of(manifest) if manifest is not None and manifest.is_file() else {}
    wrong = sorted(set(files) ^ {artifacts.MANIFEST, *expected})
    wrong += [name for name in sorted(expected) if name in paths and not _is(paths[name], expected[name])]
    if wrong:
        raise MeritError(f"{artifacts.PACKAGE}: {wrong[0]} is not what its manifest says; {AFTER}")


def _files_of(manifest: Path) -> dict[str, Any]:
    try:
        files = json.loads(manifest.read_bytes()[:MOST_BYTES])["files"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}


def _is(path: Path, digest: object) -> bool:
    return path.is_file() and artifacts.sha256(path) == digest
