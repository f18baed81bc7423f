"""API keys: drawn at random, kept as hashes in a file that people may read, and found again by what is presented.

A key has 256 random bits, so that its SHA-256 can't be guessed back: slow hashes are for what people think up.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from merit.errors import MeritError

ROLES = ("predict", "feedback", "metrics")
"""What a key may do, by the last word of the route."""
PREFIX = "merit_"
"""How every key begins, so that scanners know one that was committed."""
HASH = "sha256:"
LONGEST = 100
"""Characters that the name of a key may have."""
PATIENCE = 30.0
"""Seconds that one change of the file waits for another."""
_DIGITS = len(HASH) + 64


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as the file has it.

    Attributes:
        name: whose it is; several keys may have the same name, such as the next beside the last.
        hash: `sha256:` and the SHA-256 of the key, in hex.
        created: when it was made.
        expires: the day, in UTC, from which on it is not taken any more; None: never.
        quota: requests a minute; None: as many as come.
        roles: what it may do.
    """

    name: str
    hash: str
    created: date | None = None
    expires: date | None = None
    quota: int | None = None
    roles: tuple[str, ...] = ("predict", "feedback")

    @property
    def ends(self) -> float:
        """When it expires, in seconds since 1970."""
        if self.expires is None:
            return float("inf")
        return datetime.combine(self.expires, time.min, UTC).timestamp()


class Keys:
    """All keys of a file.

    Args:
        keys: what the file lists.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_start: dict[bytes, list[tuple[bytes, Key]]] = {}
        for key in keys:
            digest = bytes.fromhex(key.hash.removeprefix(HASH))
            self._by_start.setdefault(digest[:4], []).append((digest, key))

    def find(self, presented: bytes) -> Key | None:
        """Return the key that was presented, whether or not it has expired; None if there is none.

        Nothing is compared but hashes: how long it takes tells nothing of a key.
        """
        digest = hashlib.sha256(presented).digest()
        found = None
        for each, key in self._by_start.get(digest[:4], ()):
            if hmac.compare_digest(each, digest):
                found = key
        return found


def read(text: str, place: str) -> list[Key]:
    """Return the keys that a file lists.

    Args:
        text: the file, YAML or JSON: `keys`, a list.
        place: what it is called.

    Raises:
        MeritError: it lists none, or one is not right.
    """
    found = _parsed(text, place)
    try:
        listed = msgspec.convert(found, type=dict[str, list[Key]], strict=False)["keys"] if found else []
    except (msgspec.ValidationError, KeyError, ValueError, TypeError, RecursionError) as error:
        told = " ".join(str(error).split())[:200].replace("$[...]", "keys")
        reason = "it has no 'keys'" if isinstance(error, KeyError) else told
        raise MeritError(f"{place}: is no list of keys ({reason}); mend it, or put back what it was") from error
    if not listed:
        raise MeritError(f"{place}: lists no keys; 'merit keys add NAME' makes one")
    for key in listed:
        _check(key, place)
    return listed


def _parsed(text: str, place: str) -> Any:
    import yaml

    from merit import safe_yaml

    try:
        return safe_yaml.load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
        raise MeritError(f"{place}{line}: is not YAML ({reason}); mend it, or put back what it was") from error


def _check(key: Key, place: str) -> None:
    check_name(key.name, place)
    digits = key.hash.removeprefix(HASH)
    if len(key.hash) != _DIGITS or not key.hash.startswith(HASH) or set(digits) - set("0123456789abcdef"):
        raise MeritError(f"{place}: the hash of '{key.name}' must be sha256: and 64 digits of 0-9a-f")
    if unknown := sorted(set(key.roles) - set(ROLES)):
        raise MeritError(f"{place}: '{key.name}' has the role {unknown[0][:40]!r}; allowed: {', '.join(ROLES)}")
    if key.quota is not None and key.quota < 1:
        raise MeritError(f"{place}: the quota of '{key.name}' is {key.quota}; allowed: 1 or more a minute, or null")


def check_name(name: str, place: str) -> None:
    """Check what a key is called: it stands in lines of the log and in every row of the prediction log.

    Raises:
        MeritError: it is empty, too long, or has line breaks or other characters that can't be seen.
    """
    if not 1 <= len(name) <= LONGEST or not name.isprintable() or name != name.strip():
        raise MeritError(
            f"{place}: the name of a key is {name[:40]!r}; allowed: 1 to {LONGEST} characters that can be seen, "
            "without a space at either end"
        )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file of keys, from its reading to its writing, for one of those that change it.

    The lock is on its folder, for the file itself is replaced.

    Raises:
        MeritError: the folder can't be had, or another holds it for longer than anybody changes keys.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise MeritError(f"{path}: can't be written: {error.strerror}; free space or fix its permissions") from error
    try:
        until = monotonic() + PATIENCE
        while not _taken(folder):
            if monotonic() >= until:
                raise MeritError(f"{path}: another process changes it since {PATIENCE:g} seconds; wait for it")
            sleep(0.02)
        yield
    finally:
        os.close(folder)


def _taken(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def hashed(presented: str) -> str:
    """Return the hash that a file has of a key."""
    return HASH + hashlib.sha256(presented.encode()).hexdigest()


def made(name: str, *, expires: date | None, quota: int | None, roles: tuple[str, ...]) -> tuple[str, Key]:
    """Return a new key, which is kept nowhere, and what the file has of it.

    Raises:
        MeritError: a key can't be called so.
    """
    check_name(name, "merit keys")
    drawn = PREFIX + secrets.token_urlsafe(32)
    return drawn, Key(name, hashed(drawn), datetime.now(UTC).date(), expires, quota, roles)


def text(keys: Iterable[Key]) -> str:
    """Return the file of these keys, as YAML."""
    import yaml

    listed: list[Mapping[str, Any]] = [{**msgspec.structs.asdict(key), "roles": list(key.roles)} for key in keys]
    head = "# Hashes of API keys. 'merit keys add NAME' adds one, 'merit keys revoke NAME' takes it away.\n"
    return head + str(yaml.safe_dump({"keys": listed}, sort_keys=False, allow_unicode=True))
