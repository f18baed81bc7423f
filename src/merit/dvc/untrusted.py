"""Imports the outputs of an untrusted CI job into DVC's cache, after verifying them against dvc.lock."""

import json
import shutil
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.dvc import cache, limits, listing
from merit.dvc.limits import Limits
from merit.errors import MeritError

NOTHING_PUSHED = "nothing was pushed"
MAX_MANIFEST_BYTES = 1_000_000
"""The most bytes that are read of a manifest."""


def import_outputs(source: Path, output_hashes: dict[str, str], cache_folder: Path) -> set[str]:
    """Copy the outputs that a dvc.lock names from another job's cache into this one; return all hashes they consist of.

    Everything is verified first, so an error means that nothing was copied. Objects that the other job's cache lacks
    are skipped.

    Args:
        source: the other job's cache, `files/md5`.
        output_hashes: the hash of each output, by its path.
        cache_folder: this machine's cache.

    Raises:
        MeritError: an object doesn't match its hash, a listing names a path that no output may have, the package
            doesn't match its manifest, or the limits are exceeded.
    """
    allowed, hashes = limits.read_limits(), set[str]()
    for path, md5 in output_hashes.items():
        file = _find_object(source, md5)
        if not md5.endswith(listing.FOLDER_SUFFIX) or file is None:
            hashes.add(md5)
            continue
        files = _read_listing(file, md5, path, allowed)
        if path == artifacts.PACKAGE.as_posix():
            _check_package(files, source, cache_folder)
        hashes |= {md5, *files.values()}
    objects = {md5: file for md5 in sorted(hashes) if (file := _find_object(source, md5)) is not None}
    allowed.check_files(len(objects), str(source))
    allowed.check_bytes(sum(file.stat().st_size for file in objects.values()), str(source))
    for md5, file in objects.items():
        if cache.hash_file(file) != md5.removesuffix(listing.FOLDER_SUFFIX):
            raise MeritError(f"{file}: its content is not what its name says; {NOTHING_PUSHED}")
    for md5, file in objects.items():
        with artifacts.write_atomically(cache.locate_object(cache_folder, md5)) as aside:
            shutil.copyfile(file, aside)
    return hashes


def _find_object(source: Path, md5: str) -> Path | None:
    """Return the path of an object in the other job's cache; None if it is not there.

    Raises:
        MeritError: it is a link, which could point to any file.
    """
    file = cache.locate_object(source, md5)
    if file.is_symlink() or file.parent.is_symlink():
        raise MeritError(f"{file}: is a link; {NOTHING_PUSHED}")
    return file if file.is_file() else None


def _read_listing(file: Path, md5: str, path: str, allowed: Limits) -> dict[str, str]:
    with file.open("rb") as handle:
        text = handle.read(listing.compute_max_bytes(allowed) + 1)
    return listing.parse_listing(text, md5, path, allowed)


def _check_package(files: dict[str, str], source: Path, cache_folder: Path) -> None:
    """Check that a package's listing has exactly the files of its manifest, with the manifest's hashes.

    Raises:
        MeritError: they differ.
    """
    paths = {name: _find_object(source, md5) or cache.locate_object(cache_folder, md5) for name, md5 in files.items()}
    manifest = paths.get(artifacts.MANIFEST)
    expected = _read_manifest_files(manifest) if manifest is not None and manifest.is_file() else {}
    wrong = sorted(set(files) ^ {artifacts.MANIFEST, *expected})
    wrong += [name for name in sorted(expected) if name in paths and not _has_digest(paths[name], expected[name])]
    if wrong:
        raise MeritError(f"{artifacts.PACKAGE}: {wrong[0]} is not what its manifest says; {NOTHING_PUSHED}")


def _read_manifest_files(manifest: Path) -> dict[str, Any]:
    try:
        files = json.loads(manifest.read_bytes()[:MAX_MANIFEST_BYTES])["files"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}


def _has_digest(path: Path, digest: object) -> bool:
    return path.is_file() and artifacts.hash_file(path) == digest
