"""The listing of a folder, as DVC's cache and its remote keep it: JSON with the path and the hash of each file."""

import hashlib
import json
import re
from typing import Any

from merit.dvc import names
from merit.dvc.limits import Limits
from merit.errors import MeritError

HASH = re.compile(r"[0-9a-f]{32}")
SUFFIX = ".dir"
BYTES_PER_FILE = 400
"""How long the line of a file is at most, on average; what is longer than all of them together is not read."""
LEAST_BYTES = 100_000


def most_bytes(limits: Limits) -> int:
    """Return how long a listing may be."""
    return max(LEAST_BYTES, int(limits.files * BYTES_PER_FILE))


def parse(text: bytes, md5: str, folder: str, limits: Limits) -> dict[str, str]:
    """Return the hash of each file that a listing names, by its path in the folder.

    Args:
        text: the listing.
        md5: the hash by which dvc.lock names it, such as `abc.dir`.
        folder: the path of the output, which messages name.
        limits: how much it may name.

    Raises:
        MeritError: it is not what its hash says, or it names what no output may have; nothing may follow it then.
    """
    name = f"{folder} ({md5})"
    if len(text) > most_bytes(limits):
        raise MeritError(f"{name}: its listing is longer than {most_bytes(limits):,} bytes; nothing was written")
    if hashlib.md5(text, usedforsecurity=False).hexdigest() + SUFFIX != md5:
        raise MeritError(f"{name}: its listing is not what its hash says; nothing was written")
    entries = _entries(text, name)
    limits.check_files(len(entries), name)
    files = dict(_entry(each, name) for each in entries)
    for path in files:
        if reason := names.fault(f"{folder}/{path}"):
            raise MeritError(f"{name}: its listing names {names.shown(path)}, which {reason}; nothing was written")
    if len(files) != len(entries) or (path := names.clash(files)):
        twice = "a file" if len(files) != len(entries) else names.shown(path)
        raise MeritError(f"{name}: its listing names {twice} twice, or as a folder too; nothing was written")
    return files


def _entries(text: bytes, name: str) -> list[Any]:
    try:
        entries = json.loads(text.decode())  # of bytes it would take other encodings, too, and DVC doesn't
    except (ValueError, RecursionError) as error:
        raise MeritError(f"{name}: its listing is no JSON; nothing was written") from error
    if not isinstance(entries, list):
        raise MeritError(f"{name}: its listing is no list; nothing was written")
    return entries


def _entry(entry: Any, name: str) -> tuple[str, str]:
    """Return the path and the hash of an entry; DVC would obey other keys, and follow a listing in a listing."""
    if isinstance(entry, dict) and entry.keys() == {"md5", "relpath"}:
        path, md5 = entry["relpath"], entry["md5"]
        if isinstance(path, str) and isinstance(md5, str) and HASH.fullmatch(md5):
            return path, md5
    raise MeritError(f"{name}: its listing has an entry that is not a file's path and hash; nothing was written")
