"""Who may ask: anybody on this machine, whoever has a key, whoever brings a signed token, or whom a proxy lets through.

Nothing that is refused learns more than that there was no key, an unknown one, or one that has expired.
"""

import hashlib
import hmac
import ipaddress
import os
import socket
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Protocol

from merit.errors import MeritError
from merit.serving import settings
from merit.serving.auth import api_keys
from merit.serving.auth.quota import Quotas
from merit.serving.auth.reloading_file import Kept

Message = MutableMapping[str, Any]

OPEN = frozenset({"/livez", "/readyz", "/healthz"})
"""What platforms ask to see whether it lives: the only routes that nobody needs a key for."""
PROBE = "MERIT_PROBE"
"""In the environment of a replica: the hash of the throw-away key by which `merit apply` tries it."""
PROBER = "merit apply"
WORKER = ("_bentoml_impl", "worker", "service.py")
"""The program of BentoML's worker."""
MOST_BYTES = 8192
"""The longest that a key or token may be."""


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        error: what to tell.
        headers: what goes along.
        why: the cause, in a word or two, for the log alone.
        who: whose key or token it was, where that is known, for the log alone.
    """

    def __init__(
        self,
        status: int,
        error: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        why: str = "",
        who: str = "",
    ) -> None:
        super().__init__(error)
        self.status, self.error, self.headers, self.why, self.who = status, error, headers or [], why, who


class Unverified(Exception):
    """A token that does not hold.

    Args:
        why: what of it, in a word or two, for the log alone.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Auth(Protocol):
    """Says who asks."""

    def admit(self, scope: Message) -> str:
        """Return the caller's name, "" where nobody is asked.

        Raises:
            Refusal: the request is not to be answered.
        """


def of(told: settings.Auth, host: str, workers: int = 1) -> Auth:
    """Return who decides.

    Args:
        told: the settings.
        host: the address that the service listens on.
        workers: processes that answer, among which quotas are shared.

    Raises:
        MeritError: it would be open to anybody, or the file of keys is missing, empty or not right.
    """
    check(told, host)
    if told.method == "none":
        return Nobody()
    if told.method == "proxy":
        return Proxy()
    if told.method == "keys":
        remedy = "'merit keys add NAME' makes it"
        return ByKeys(
            Kept(told.keys, "MERIT_KEYS", lambda text, place: api_keys.Keys(api_keys.read(text, place)), remedy),
            workers,
        )
    if told.method == "jwt":
        from merit.serving.auth import jwt

        return ByTokens(Kept(told.jwks, "MERIT_JWKS", jwt.reader(told.issuer, told.audience), jwt.REMEDY))
    raise MeritError(f"serve.auth.method is '{told.method}'; allowed: none, keys, jwt, proxy")


def check(told: settings.Auth, host: str) -> None:
    """Check that an address beyond this machine is not open to anybody.

    Raises:
        MeritError: it is.
    """
    if told.method == "none" and not is_loopback(host):
        raise MeritError(
            f"serve: {host} can be reached from other machines and serve.auth.method is none, so anybody could ask; "
            "set it to keys or jwt, to proxy if something before it asks who it is, or serve.host to 127.0.0.1"
        )


def listens_on(told: settings.Settings) -> str:
    """Return the address that the service listens on.

    A worker of BentoML's is handed its socket, which knows; else it is BENTOML_HOST, by which images are told, or the
    setting's.
    """
    return _handed() or os.environ.get("BENTOML_HOST") or told.host


def _handed() -> str | None:
    """Return the address of the socket that this process was handed as BentoML's worker."""
    if Path(sys.argv[0]).parts[-3:] != WORKER or "--fd" not in sys.argv[:-1]:
        return None
    try:
        with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as handed:
            name = handed.getsockname()
    except (OSError, ValueError):
        return None
    return str(name[0]) if isinstance(name, tuple) else None


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


class Nobody:
    """Nobody is asked, for only this machine can reach it; what arrives at another address is refused all the same."""

    def __init__(self) -> None:
        self._seen: dict[str, bool] = {}

    def admit(self, scope: Message) -> str:
        """Let through what arrives at this machine's own address."""
        server = scope.get("server")
        if server is None or server[1] is None:  # a socket that is a file
            return ""
        host = server[0]
        if (known := self._seen.get(host)) is None:
            known = self._seen[host] = is_loopback(host)
        if not known:
            raise Refusal(403, "this endpoint answers on 127.0.0.1 alone, for nobody is asked for a key", why="address")
        return ""


class Proxy:
    """Whatever is before the service asks who it is."""

    def admit(self, scope: Message) -> str:  # as all do
        """Let all through."""
        return ""


class ByKeys:
    """Whoever has a key of the file.

    Args:
        kept: the keys, as the file has them now.
        workers: processes that answer.
    """

    def __init__(self, kept: Kept[api_keys.Keys], workers: int) -> None:
        self._kept = kept
        self._quotas = Quotas(workers)
        self._probe = _probe()

    def admit(self, scope: Message) -> str:
        """Return the name of the key.

        Raises:
            Refusal: 401 without a key that holds, 403 with one that may not do this, 429 past its quota.
        """
        presented = _presented(scope)
        key = self._kept.now().find(presented)
        if key is None:
            if _is_probe(presented, self._probe):
                return PROBER
            raise _unknown("unknown key", "unknown")
        if key.ends <= self._kept.clock():
            raise _unknown("expired key", "expired", key.name)
        _check_role(scope, key.roles, key.name)
        if key.quota is not None and (seconds := self._quotas.wait(key.hash, key.quota)):
            told = f"the quota, {key.quota} requests a minute, is used up; come again in {seconds} seconds"
            raise Refusal(429, told, [(b"retry-after", b"%d" % seconds)], why="quota", who=key.name)
        return key.name


class ByTokens:
    """Whoever brings a token that a key of the JWKS file has signed.

    Args:
        kept: what verifies, as the file has it now.
    """

    def __init__(self, kept: "Kept[Any]") -> None:
        self._kept = kept
        self._probe = _probe()

    def admit(self, scope: Message) -> str:
        """Return the token's subject.

        Raises:
            Refusal: 401 without a token that holds, 403 with one that may not do this.
        """
        presented = _presented(scope)
        if _is_probe(presented, self._probe):
            return PROBER
        try:
            found = self._kept.now().find(presented)
        except Unverified as error:
            # That it has expired is said only once the signature holds.
            raise _unknown("expired key" if error.why == "exp" else "unknown key", error.why) from error
        if found.ends <= self._kept.clock():
            raise _unknown("expired key", "exp", found.name)
        _check_role(scope, found.roles, found.name)
        return str(found.name)


def _presented(scope: Message) -> bytes:
    """Return the key or token of a request."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found = value[7:].strip()
        elif name == b"x-api-key":
            found = value
        else:
            continue
        if found and len(found) <= MOST_BYTES:
            return bytes(found)
    raise _unknown("no key; send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'", "none")


def _unknown(error: str, why: str, who: str = "") -> Refusal:
    return Refusal(401, error, [(b"www-authenticate", b"Bearer")], why=why, who=who)


def _check_role(scope: Message, roles: tuple[str, ...], who: str) -> None:
    """Check that a route is one of those that somebody may use; what is neither is for whoever may do anything."""
    asked = scope["path"].rpartition("/")[2]
    if asked in api_keys.ROLES and asked not in roles:
        raise Refusal(403, f"this key is not for /{asked}", why="role", who=who)


def _probe() -> bytes:
    return bytes.fromhex(os.environ.get(PROBE, ""))


def _is_probe(presented: bytes, probe: bytes) -> bool:
    return bool(probe) and hmac.compare_digest(hashlib.sha256(presented).digest(), probe)
