"""Parses DVC's listing of a folder (an object `abc.dir`): JSON with the path and the hash of each file."""

import hashlib
import json
import re
from typing import Any

from merit.dvc import paths
from merit.dvc.limits import Limits
from merit.errors import MeritError

MD5_PATTERN = re.compile(r"[0-9a-f]{32}")
FOLDER_SUFFIX = ".dir"
MAX_BYTES_PER_FILE = 400
"""The most bytes per file in a listing, on average; a listing longer than that for all allowed files is not read."""
MIN_LISTING_BYTES = 100_000


def compute_max_bytes(limits: Limits) -> int:
    """Return the most bytes that a listing may have, given the allowed number of files."""
    return max(MIN_LISTING_BYTES, int(limits.files * MAX_BYTES_PER_FILE))


def parse_listing(text: bytes, md5: str, folder: str, limits: Limits) -> dict[str, str]:
    """Return the hash of each file in a listing, by its path in the folder.

    Args:
        text: the listing.
        md5: its hash in dvc.lock, such as `abc.dir`.
        folder: the path of the output, used in messages.
        limits: how many files it may name.

    Raises:
        MeritError: the listing doesn't match its hash, is malformed or too long, or names a path that no output may
            have. The caller must not use any part of it.
    """
    name = f"{folder} ({md5})"
    if len(text) > compute_max_bytes(limits):
        raise MeritError(f"{name}: its listing is longer than {compute_max_bytes(limits):,} bytes; nothing was written")
    if hashlib.md5(text, usedforsecurity=False).hexdigest() + FOLDER_SUFFIX != md5:
        raise MeritError(f"{name}: its listing is not what its hash says; nothing was written")
    entries = _parse_entries(text, name)
    limits.check_files(len(entries), name)
    files = dict(_parse_entry(each, name) for each in entries)
    for path in files:
        if reason := paths.find_fault(f"{folder}/{path}"):
            raise MeritError(
                f"{name}: its listing names {paths.escape_path(path)}, which {reason}; nothing was written"
            )
    if len(files) != len(entries) or (path := paths.find_clash(files)):
        duplicate = "a file" if len(files) != len(entries) else paths.escape_path(path)
        raise MeritError(f"{name}: its listing names {duplicate} twice, or as a folder too; nothing was written")
    return files


def _parse_entries(text: bytes, name: str) -> list[Any]:
    try:
        entries = json.loads(text.decode())  # given bytes, json would accept UTF-16 and UTF-32 too
    except (ValueError, RecursionError) as error:
        raise MeritError(f"{name}: its listing is no JSON; nothing was written") from error
    if not isinstance(entries, list):
        raise MeritError(f"{name}: its listing is no list; nothing was written")
    return entries


def _parse_entry(entry: Any, name: str) -> tuple[str, str]:
    """Return the path and the hash of an entry.

    Only these two keys and only hashes of files: DVC would act on other keys, and follow a listing inside a listing.
    """
    if isinstance(entry, dict) and entry.keys() == {"md5", "relpath"}:
        path, md5 = entry["relpath"], entry["md5"]
        if isinstance(path, str) and isinstance(md5, str) and MD5_PATTERN.fullmatch(md5):
            return path, md5
    raise MeritError(f"{name}: its listing has an entry that is not a file's path and hash; nothing was written")
