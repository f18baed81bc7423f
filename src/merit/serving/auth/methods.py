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
from merit.serving import bentoml_adapter, settings
from merit.serving.auth import api_keys
from merit.serving.auth.errors import HttpError, InvalidToken
from merit.serving.auth.quota import TokenBuckets
from merit.serving.auth.reloading_file import ReloadingFile

Message = MutableMapping[str, Any]

PUBLIC_ROUTES = frozenset({"/livez", "/readyz", "/healthz"})
"""Health routes for platforms: the only routes without authentication."""
PROBE_VARIABLE = "MERIT_PROBE"
"""Environment variable of a replica: SHA-256 (hex) of the one-time key with which `merit apply` probes it."""
PROBE_CALLER = "merit apply"
"""Caller name of that probe."""
MAX_CREDENTIAL_BYTES = 8192
"""Maximum length of a key or token."""


class Auth(Protocol):
    """An authentication method."""

    def authenticate(self, scope: Message) -> str:
        """Authenticate a request and return the caller's name, "" if the method has no names.

        Raises:
            HttpError: the request is not authenticated or not allowed.
        """


def from_settings(auth_settings: settings.AuthSettings, host: str, worker_count: int = 1) -> Auth:
    """Create the authentication method from its settings.

    Args:
        auth_settings: the section `serve.auth`.
        host: the address that the service listens on.
        worker_count: number of worker processes; each enforces its share of a quota.

    Raises:
        MeritError: the service would be exposed without authentication, or the key file is missing, empty or invalid.
    """
    check_exposure(auth_settings, host)
    if auth_settings.method == "none":
        return NoAuth()
    if auth_settings.method == "proxy":
        return ProxyAuth()
    if auth_settings.method == "keys":
        advice = "'merit keys add NAME' makes it"
        return ApiKeyAuth(
            ReloadingFile(
                auth_settings.keys,
                "MERIT_KEYS",
                lambda text, place: api_keys.ApiKeys(api_keys.parse_keys(text, place)),
                advice,
            ),
            worker_count,
        )
    if auth_settings.method == "jwt":
        from merit.serving.auth import jwt

        return JwtAuth(
            ReloadingFile(
                auth_settings.jwks,
                "MERIT_JWKS",
                jwt.create_parser(auth_settings.issuer, auth_settings.audience),
                jwt.JWKS_ADVICE,
            )
        )
    raise MeritError(f"serve.auth.method is '{auth_settings.method}'; allowed: none, keys, jwt, proxy")


def check_exposure(auth_settings: settings.AuthSettings, host: str) -> None:
    """Check that a service without authentication listens on a loopback address.

    Raises:
        MeritError: it is reachable from other machines.
    """
    if auth_settings.method == "none" and not is_loopback(host):
        raise MeritError(
            f"serve: {host} can be reached from other machines and serve.auth.method is none, so anybody could ask; "
            "set it to keys or jwt, to proxy if something before it asks who it is, or serve.host to 127.0.0.1"
        )


def resolve_host(serve_settings: settings.Settings) -> str:
    """Return the address that the service listens on.

    In a BentoML worker the inherited socket decides; otherwise BENTOML_HOST (set in images), then `serve.host`.
    """
    return _read_inherited_host() or os.environ.get("BENTOML_HOST") or serve_settings.host


def _read_inherited_host() -> str | None:
    """Return the address of the socket that this process inherited as a BentoML worker; None if it is not one."""
    if Path(sys.argv[0]).parts[-3:] != bentoml_adapter.WORKER_PATH or "--fd" not in sys.argv[:-1]:
        return None
    try:
        with socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))) as inherited:
            address = inherited.getsockname()
    except (OSError, ValueError):
        return None
    return str(address[0]) if isinstance(address, tuple) else None


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class NoAuth:
    """No authentication; accepts only requests that arrive at a loopback address."""

    def __init__(self) -> None:
        self._is_loopback_by_host: dict[str, bool] = {}

    def authenticate(self, scope: Message) -> str:
        """Accept a request that arrives at a loopback address.

        Raises:
            HttpError: 403, it arrives at another address.
        """
        server = scope.get("server")
        if server is None or server[1] is None:  # a Unix domain socket
            return ""
        host = server[0]
        if (is_local := self._is_loopback_by_host.get(host)) is None:
            is_local = self._is_loopback_by_host[host] = is_loopback(host)
        if not is_local:
            raise HttpError(
                403, "this endpoint has no authentication, so it answers on 127.0.0.1 alone", reason="address"
            )
        return ""


class ProxyAuth:
    """Authentication by a proxy, or an enclosing app, in front of the service."""

    def authenticate(self, scope: Message) -> str:  # the protocol's signature
        """Accept every request."""
        return ""


class ApiKeyAuth:
    """Authentication by an API key from the key file.

    Args:
        key_file: the key file, reloaded when it changes.
        worker_count: number of worker processes, for quotas.
    """

    def __init__(self, key_file: ReloadingFile[api_keys.ApiKeys], worker_count: int) -> None:
        self._key_file = key_file
        self._quotas = TokenBuckets(worker_count)
        self._probe_hash = _read_probe_hash()

    def authenticate(self, scope: Message) -> str:
        """Return the name of the request's key.

        Raises:
            HttpError: 401, no valid key; 403, the key's roles don't include the route; 429, its quota is used up.
        """
        credential = _read_credential(scope)
        key = self._key_file.get_value().find(credential)
        if key is None:
            if _is_probe(credential, self._probe_hash):
                return PROBE_CALLER
            raise _create_unauthorized("unknown key", "unknown")
        if key.expires_at <= self._key_file.current_time():
            raise _create_unauthorized("expired key", "expired", key.name)
        _check_role(scope, key.roles, key.name)
        if key.quota is not None and (seconds := self._quotas.take_token(key.hash, key.quota)):
            message = f"the quota, {key.quota} requests a minute, is used up; come again in {seconds} seconds"
            raise HttpError(429, message, [(b"retry-after", b"%d" % seconds)], reason="quota", caller=key.name)
        return key.name


class JwtAuth:
    """Authentication by a JSON Web Token signed with a key of the JWKS file.

    Args:
        jwks_file: the token verifier, rebuilt when the JWKS file changes.
    """

    def __init__(self, jwks_file: "ReloadingFile[Any]") -> None:
        self._jwks_file = jwks_file
        self._probe_hash = _read_probe_hash()

    def authenticate(self, scope: Message) -> str:
        """Return the token's subject.

        Raises:
            HttpError: 401, no valid token; 403, the token's roles don't include the route.
        """
        credential = _read_credential(scope)
        if _is_probe(credential, self._probe_hash):
            return PROBE_CALLER
        try:
            token = self._jwks_file.get_value().find(credential)
        except InvalidToken as error:
            # "expired" is safe to tell: PyJWT checks claims only after the signature was verified.
            raise _create_unauthorized(
                "expired key" if error.reason == "exp" else "unknown key", error.reason
            ) from error
        if token.expires_at <= self._jwks_file.current_time():
            raise _create_unauthorized("expired key", "exp", token.name)
        _check_role(scope, token.roles, token.name)
        return str(token.name)


def _read_credential(scope: Message) -> bytes:
    """Return the key or token of a request.

    Raises:
        HttpError: 401, there is none, or it is too long.
    """
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            credential = value[7:].strip()
        elif name == b"x-api-key":
            credential = value
        else:
            continue
        if credential and len(credential) <= MAX_CREDENTIAL_BYTES:
            return bytes(credential)
    raise _create_unauthorized("no key; send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'", "none")


def _create_unauthorized(message: str, reason: str, caller: str = "") -> HttpError:
    return HttpError(401, message, [(b"www-authenticate", b"Bearer")], reason=reason, caller=caller)


def _check_role(scope: Message, roles: tuple[str, ...], caller: str) -> None:
    """Check that the roles include the route; routes that have no role of their own are open to all roles.

    Raises:
        HttpError: 403, they don't.
    """
    required_role = scope["path"].rpartition("/")[2]
    if required_role in api_keys.ROLES and required_role not in roles:
        raise HttpError(403, f"this key is not for /{required_role}", reason="role", caller=caller)


def _read_probe_hash() -> bytes:
    return bytes.fromhex(os.environ.get(PROBE_VARIABLE, ""))


def _is_probe(credential: bytes, probe_hash: bytes) -> bool:
    return bool(probe_hash) and hmac.compare_digest(hashlib.sha256(credential).digest(), probe_hash)
