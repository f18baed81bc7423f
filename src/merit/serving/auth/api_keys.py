"""Creates API keys, stores their hashes in a YAML file and finds the key of a request.

A key has 256 random bits, so a plain SHA-256 can't be reversed; slow password hashes are for secrets chosen by people.
"""

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
"""Roles of a key: the last component of the route each allows."""
KEY_PREFIX = "merit_"
"""Prefix of every key, by which secret scanners recognize a committed one."""
HASH_PREFIX = "sha256:"
MAX_NAME_CHARS = 100
"""Maximum characters of a key's name."""
LOCK_TIMEOUT_S = 30.0
"""How long a change of the file waits for the lock, in seconds."""
_HASH_CHARS = len(HASH_PREFIX) + 64


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the key file.

    Attributes:
        name: owner of the key; several keys may share a name, for example during rotation.
        hash: `sha256:` and the SHA-256 of the key, in hex.
        created: day of creation.
        expires: first day, in UTC, on which the key is not valid; None means never.
        quota: maximum requests per minute; None means no limit.
        roles: routes the key allows, see ROLES.
    """

    name: str
    hash: str
    created: date | None = None
    expires: date | None = None
    quota: int | None = None
    roles: tuple[str, ...] = ("predict", "feedback")

    @property
    def expires_at(self) -> float:
        """Time of expiry in seconds since 1970; infinity if there is none."""
        if self.expires is None:
            return float("inf")
        return datetime.combine(self.expires, time.min, UTC).timestamp()


class ApiKeys:
    """The keys of a file, indexed by hash.

    Args:
        keys: the entries of the file.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_digest_prefix: dict[bytes, list[tuple[bytes, Key]]] = {}
        for key in keys:
            digest = bytes.fromhex(key.hash.removeprefix(HASH_PREFIX))
            self._by_digest_prefix.setdefault(digest[:4], []).append((digest, key))

    def find(self, credential: bytes) -> Key | None:
        """Return the entry of the presented key, expired or not; None if there is none.

        Only hashes are compared, so the duration reveals nothing about the keys.
        """
        digest = hashlib.sha256(credential).digest()
        match = None
        for known_digest, key in self._by_digest_prefix.get(digest[:4], ()):
            if hmac.compare_digest(known_digest, digest):
                match = key
        return match


def parse_keys(text: str, source: str) -> list[Key]:
    """Parse the content of a key file.

    Args:
        text: YAML or JSON: an object with the list `keys`.
        source: name of the source, for error messages.

    Raises:
        MeritError: the text lists no keys, or one is invalid.
    """
    parsed = _parse_yaml(text, source)
    try:
        keys = msgspec.convert(parsed, type=dict[str, list[Key]], strict=False)["keys"] if parsed else []
    except (msgspec.ValidationError, KeyError, ValueError, TypeError, RecursionError) as error:
        message = " ".join(str(error).split())[:200].replace("$[...]", "keys")
        reason = "it has no 'keys'" if isinstance(error, KeyError) else message
        raise MeritError(f"{source}: is no list of keys ({reason}); correct it, or restore what it was") from error
    if not keys:
        raise MeritError(f"{source}: lists no keys; 'merit keys add NAME' makes one")
    for key in keys:
        _check_key(key, source)
    return keys


def _parse_yaml(text: str, source: str) -> Any:
    import yaml

    from merit import safe_yaml

    try:
        return safe_yaml.load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
        raise MeritError(f"{source}{line}: is not YAML ({reason}); correct it, or restore what it was") from error


def _check_key(key: Key, source: str) -> None:
    check_name(key.name, source)
    digits = key.hash.removeprefix(HASH_PREFIX)
    if len(key.hash) != _HASH_CHARS or not key.hash.startswith(HASH_PREFIX) or set(digits) - set("0123456789abcdef"):
        raise MeritError(f"{source}: the hash of '{key.name}' must be sha256: and 64 digits of 0-9a-f")
    if unknown := sorted(set(key.roles) - set(ROLES)):
        raise MeritError(f"{source}: '{key.name}' has the role {unknown[0][:40]!r}; allowed: {', '.join(ROLES)}")
    if key.quota is not None and key.quota < 1:
        raise MeritError(f"{source}: the quota of '{key.name}' is {key.quota}; allowed: 1 or more a minute, or null")


def check_name(name: str, source: str) -> None:
    """Check the name of a key, which appears in log lines and in every row of the prediction log.

    Raises:
        MeritError: the name is empty, too long, or has line breaks or other unprintable characters.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise MeritError(
            f"{source}: the name of a key is {name[:40]!r}; allowed: 1 to {MAX_NAME_CHARS} characters that can be "
            "seen, "
            "without a space at either end"
        )


@contextmanager
def lock_key_file(path: Path) -> Iterator[None]:
    """Lock a key file exclusively while it is read, changed and written.

    The lock is on its folder, because a change replaces the file itself.

    Raises:
        MeritError: the folder can't be created or opened, or another process holds the lock for too long.
    """
    import filelock  # which the endpoint, that only reads keys, doesn't need

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise MeritError(f"{path}: can't be written: {error.strerror}; free space or fix its permissions") from error
    try:
        deadline = monotonic() + LOCK_TIMEOUT_S
        while not filelock.lock_descriptor(descriptor, blocking=False):
            if monotonic() >= deadline:
                raise MeritError(f"{path}: another process changes it since {LOCK_TIMEOUT_S:g} seconds; wait for it")
            sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def hash_key(secret: str) -> str:
    """Return the hash of a key, as the key file stores it."""
    return HASH_PREFIX + hashlib.sha256(secret.encode()).hexdigest()


def create_key(name: str, *, expires: date | None, quota: int | None, roles: tuple[str, ...]) -> tuple[str, Key]:
    """Create a key; return its secret, which is stored nowhere, and its entry for the key file.

    Raises:
        MeritError: the name is invalid.
    """
    check_name(name, "merit keys")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, hash_key(secret), datetime.now(UTC).date(), expires, quota, roles)


def render_keys(keys: Iterable[Key]) -> str:
    """Return the content of a key file, as YAML."""
    import yaml

    entries: list[Mapping[str, Any]] = [{**msgspec.structs.asdict(key), "roles": list(key.roles)} for key in keys]
    header = "# Hashes of API keys. 'merit keys add NAME' adds one, 'merit keys revoke NAME' takes it away.\n"
    return header + str(yaml.safe_dump({"keys": entries}, sort_keys=False, allow_unicode=True))
