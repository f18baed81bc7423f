"""Verifies JSON Web Tokens with the public keys of a JWKS file; imported only if configured, because it needs PyJWT."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from merit.errors import MeritError
from merit.serving.auth.errors import InvalidToken

ALGORITHMS = {"RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "EC": {"ES256", "ES384", "ES512"}}
ALGORITHMS["OKP"] = {"EdDSA"}
"""Allowed signature algorithms by key type; excludes `none` and algorithms with a shared secret (HMAC)."""
MIN_RSA_BITS = 2048
"""Minimum size of an RSA key, in bits."""
LEEWAY_S = 30
"""Allowed difference between the clocks of issuer and server, in seconds."""
JWKS_ADVICE = "put the issuer's public keys there"
"""Advice in error messages about the JWKS file."""
MAX_CACHED_TOKENS = 4096
"""Maximum verified tokens in the cache."""


class Token(NamedTuple):
    """The content of a valid token.

    Attributes:
        name: its subject.
        expires_at: time of expiry, leeway included, in seconds since 1970.
        roles: routes the token allows.
    """

    name: str
    expires_at: float
    roles: tuple[str, ...]


REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "exp"),
    (jwt.ImmatureSignatureError, "nbf or iat"),
    (jwt.InvalidIssuedAtError, "iat"),
    (jwt.InvalidIssuerError, "iss"),
    (jwt.InvalidAudienceError, "aud"),
    (jwt.InvalidAlgorithmError, "alg"),
    (jwt.InvalidSignatureError, "signature"),
)
"""Reasons for the log by PyJWT exception; any other exception means `malformed`."""


def create_parser(issuer: str | None, audience: str | None) -> Callable[[str, str], "TokenVerifier"]:
    """Return a parser that turns the text of a JWKS file into a verifier for tokens of this issuer and audience.

    Raises:
        MeritError: `issuer` or `audience` is missing.
    """
    if not issuer or not audience:
        raise MeritError("serve.auth: the method jwt needs issuer and audience, to say whose tokens count")
    return lambda text, place: TokenVerifier(_parse_keys(text, place), issuer, audience)


def _parse_keys(text: str, source: str) -> dict[str | None, jwt.PyJWK]:
    """Return the signature keys of a JWKS file by key id; one key may have no id (None)."""
    try:
        entries = [entry for entry in json.loads(text)["keys"] if entry.get("use", "sig") == "sig"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _create_read_error(source, error) from error
    keys: dict[str | None, jwt.PyJWK] = {}
    for each in entries:
        key = _parse_key(each, source)
        if key.key_id in keys:
            description = "no kid" if key.key_id is None else f"the kid {key.key_id[:100]!r}"
            raise MeritError(f"{source}: two keys have {description}; give each one of its own")
        keys[key.key_id] = key
    if not keys:
        raise MeritError(f"{source}: holds no key that signs; {JWKS_ADVICE}")
    return keys


def _parse_key(entry: dict[str, Any], source: str) -> jwt.PyJWK:
    try:
        key_type = entry["kty"]
        if not all(isinstance(each, str) for each in (key_type, entry.get("kid", ""), entry.get("alg", ""))):
            raise TypeError  # noqa: TRY301  # reported like any unreadable key
        key = jwt.PyJWK(entry)
    except Exception as error:  # PyJWT and cryptography raise many types for malformed keys
        raise _create_read_error(source, error) from error
    if key.algorithm_name not in ALGORITHMS.get(key_type, ()):
        raise MeritError(
            f"{source}: a key is for {key.algorithm_name}; allowed: RS, PS and ES by 256, 384 or 512, and EdDSA"
        )
    if "d" in entry:
        raise MeritError(f"{source}: a key is private; put only the issuer's public keys there, and draw a new one")
    if key_type == "RSA" and key.key.key_size < MIN_RSA_BITS:
        raise MeritError(f"{source}: an RSA key has {key.key.key_size} bits; at least {MIN_RSA_BITS} are needed")
    return key


def _create_read_error(source: str, error: Exception) -> MeritError:
    # Only the type: the error's text may contain the key.
    return MeritError(f"{source}: no JWKS that can be read ({type(error).__name__}); {JWKS_ADVICE}")


class TokenVerifier:
    """Verifies tokens and caches the valid ones; callers must check the expiry of a cached token.

    Args:
        keys: the signature keys by key id.
        issuer: required issuer of a token.
        audience: required audience of a token.
    """

    def __init__(self, keys: dict[str | None, jwt.PyJWK], issuer: str, audience: str) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._cached: OrderedDict[bytes, Token] = OrderedDict()

    def find(self, credential: bytes) -> Token:
        """Verify a token, or look it up in the cache, and return its content.

        Raises:
            InvalidToken: the token is not valid.
        """
        digest = hashlib.sha256(credential).digest()
        if (cached := self._cached.get(digest)) is not None:
            return cached
        try:
            token = self._verify(credential.decode("ascii"))
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"no {error.claim}") from error
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
            raise InvalidToken(next((why for kind, why in REASONS if isinstance(error, kind)), "malformed")) from error
        self._cached[digest] = token
        if len(self._cached) > MAX_CACHED_TOKENS:
            self._cached.popitem(last=False)
        return token

    def _verify(self, token: str) -> Token:
        key = self._select_key(jwt.get_unverified_header(token).get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )
        name = str(claims.get("sub", ""))[:200]
        name.encode()  # raises on a lone surrogate, which JSON allows but no log could store
        return Token(name, float(claims["exp"]) + LEEWAY_S, _read_roles(claims))

    def _select_key(self, key_id: Any) -> jwt.PyJWK:
        """Return the key with the token's key id; without an id, the only key there is.

        Raises:
            InvalidToken: no key matches.
        """
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key_id is None:
            raise InvalidToken("no kid")
        if (key := self._keys.get(str(key_id))) is None:
            raise InvalidToken("kid")
        return key


def _read_roles(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles of a token: predict and feedback, and metrics if its scope contains it."""
    scopes = str(claims.get("scope", "")).split()
    return ("predict", "feedback", "metrics") if "metrics" in scopes else ("predict", "feedback")
