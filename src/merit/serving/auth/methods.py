"""Authenticates requests: none (loopback only), API keys, JSON Web Tokens or an authenticating proxy.

A rejected client learns only whether its key is missing, unknown or expired; the exact reason goes to the log.
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
"""Health routes for platforms: the only routes without authentication."""
PROBE = "MERIT_PROBE"
"""Environment variable of a replica: SHA-256 (hex) of the one-time key with which `merit apply` probes it."""
PROBER = "merit apply"
"""Caller name of that probe."""
WORKER = ("_bentoml_impl", "worker", "service.py")
"""Last path components of BentoML's worker program."""
MOST_BYTES = 8192
"""Maximum length of a key or token."""


class Refusal(Exception):
    """An HTTP error response to a request.

    Args:
        status: HTTP status.
        error: message for the client.
        headers: additional response headers.
        why: short reason, only for the log.
        who: name of the caller, if known, only for the log.
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
    """A token that is not valid.

    Args:
        why: short reason, only for the log.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Auth(Protocol):
    """An authentication method."""

    def admit(self, scope: Message) -> str:
        """Authenticate a request and return the caller's name, "" if the method has no names.

        Raises:
            Refusal: the request is not authenticated or not allowed.
        """


def of(told: settings.Auth, host: str, workers: int = 1) -> Auth:
    """Create the authentication method from its settings.

    Args:
        told: the section `serve.auth`.
        host: the address that the service listens on.
        workers: number of worker processes; each enforces its share of a quota.

    Raises:
        MeritError: the service would be exposed without authentication, or the key file is missing, empty or invalid.
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
    """Check that a service without authentication listens on a loopback address.

    Raises:
        MeritError: it is reachable from other machines.
    """
    if told.method == "none" and not is_loopback(host):
        raise MeritError(
            f"serve: {host} can be reached from other machines and serve.auth.method is none, so anybody could ask; "
            "set it to keys or jwt, to proxy if something before it asks who it is, or serve.host to 127.0.0.1"
        )


def listens_on(told: settings.Settings) -> str:
    """Return the address that the service listens on.

    In a BentoML worker the inherited socket decides; otherwise BENTOML_HOST (set in images), then `serve.host`.
    """
    return _handed() or os.environ.get("BENTOML_HOST") or told.host


def _handed() -> str | None:
    """Return the address of the socket that this process inherited as a BentoML worker; None if it is not one."""
    if Path(sys.argv[0]).parts[-3:] != WORKER or "--fd" not in sys.argv[:-1]:
        return None
    try:
        with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as handed:
            name = handed.getsockname()
    except (OSError, ValueError):
        return None
    return str(name[0]) if isinstance(name, tuple) else None


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


class Nobody:
    """No authentication; accepts only requests that arrive at a loopback address."""

    def __init__(self) -> None:
        self._seen: dict[str, bool] = {}

    def admit(self, scope: Message) -> str:
        """Accept a request that arrives at a loopback address.

        Raises:
            Refusal: 403, it arrives at another address.
        """
        server = scope.get("server")
        if server is None or server[1] is None:  # a Unix domain socket
            return ""
        host = server[0]
        if (known := self._seen.get(host)) is None:
            known = self._seen[host] = is_loopback(host)
        if not known:
            raise Refusal(403, "this endpoint has no authentication, so it answers on 127.0.0.1 alone", why="address")
        return ""


class Proxy:
    """Authentication by a proxy, or an enclosing app, in front of the service."""

    def admit(self, scope: Message) -> str:  # the protocol's signature
        """Accept every request."""
        return ""


class ByKeys:
    """Authentication by an API key from the key file.

    Args:
        kept: the key file, reloaded when it changes.
        workers: number of worker processes, for quotas.
    """

    def __init__(self, kept: Kept[api_keys.Keys], workers: int) -> None:
        self._kept = kept
        self._quotas = Quotas(workers)
        self._probe = _probe()

    def admit(self, scope: Message) -> str:
        """Return the name of the request's key.

        Raises:
            Refusal: 401, no valid key; 403, the key's roles don't include the route; 429, its quota is used up.
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
    """Authentication by a JSON Web Token signed with a key of the JWKS file.

    Args:
        kept: the token verifier, rebuilt when the JWKS file changes.
    """

    def __init__(self, kept: "Kept[Any]") -> None:
        self._kept = kept
        self._probe = _probe()

    def admit(self, scope: Message) -> str:
        """Return the token's subject.

        Raises:
            Refusal: 401, no valid token; 403, the token's roles don't include the route.
        """
        presented = _presented(scope)
        if _is_probe(presented, self._probe):
            return PROBER
        try:
            found = self._kept.now().find(presented)
        except Unverified as error:
            # "expired" is safe to tell: PyJWT checks claims only after the signature was verified.
            raise _unknown("expired key" if error.why == "exp" else "unknown key", error.why) from error
        if found.ends <= self._kept.clock():
            raise _unknown("expired key", "exp", found.name)
        _check_role(scope, found.roles, found.name)
        return str(found.name)


def _presented(scope: Message) -> bytes:
    """Return the key or token of a request.

    Raises:
        Refusal: 401, there is none, or it is too long.
    """
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
    """Check that the roles include the route; routes that have no role of their own are open to all roles.

    Raises:
        Refusal: 403, they don't.
    """
    asked = scope["path"].rpartition("/")[2]
    if asked in api_keys.ROLES and asked not in roles:
        raise Refusal(403, f"this key is not for /{asked}", why="role", who=who)


def _probe() -> bytes:
    return bytes.fromhex(os.environ.get(PROBE, ""))


def _is_probe(presented: bytes, probe: bytes) -> bool:
    return bool(probe) and hmac.compare_digest(hashlib.sha256(presented).digest(), probe)
