"""Verifies JSON Web Tokens with the public keys of a JWKS file; imported only if configured, because it needs PyJWT."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from merit.errors import MeritError
from merit.serving.auth.methods import Unverified

ALGORITHMS = {"RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "EC": {"ES256", "ES384", "ES512"}}
ALGORITHMS["OKP"] = {"EdDSA"}
"""Allowed signature algorithms by key type; excludes `none` and algorithms with a shared secret (HMAC)."""
LEAST_BITS = 2048
"""Minimum size of an RSA key, in bits."""
LEEWAY = 30
"""Allowed difference between the clocks of issuer and server, in seconds."""
REMEDY = "put the issuer's public keys there"
"""Advice in error messages about the JWKS file."""
REMEMBERED = 4096
"""Maximum verified tokens in the cache."""


class Token(NamedTuple):
    """The content of a valid token.

    Attributes:
        name: its subject.
        ends: time of expiry, leeway included, in seconds since 1970.
        roles: routes the token allows.
    """

    name: str
    ends: float
    roles: tuple[str, ...]


WHY: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "exp"),
    (jwt.ImmatureSignatureError, "nbf or iat"),
    (jwt.InvalidIssuedAtError, "iat"),
    (jwt.InvalidIssuerError, "iss"),
    (jwt.InvalidAudienceError, "aud"),
    (jwt.InvalidAlgorithmError, "alg"),
    (jwt.InvalidSignatureError, "signature"),
)
"""Reasons for the log by PyJWT exception; any other exception means `malformed`."""


def reader(issuer: str | None, audience: str | None) -> Callable[[str, str], "Tokens"]:
    """Return a parser that turns the text of a JWKS file into a verifier for tokens of this issuer and audience.

    Raises:
        MeritError: `issuer` or `audience` is missing.
    """
    if not issuer or not audience:
        raise MeritError("serve.auth: the method jwt needs issuer and audience, to say whose tokens count")
    return lambda text, place: Tokens(_keys(text, place), issuer, audience)


def _keys(text: str, place: str) -> dict[str | None, jwt.PyJWK]:
    """Return the signature keys of a JWKS file by key id; one key may have no id (None)."""
    try:
        listed = [each for each in json.loads(text)["keys"] if each.get("use", "sig") == "sig"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(place, error) from error
    found: dict[str | None, jwt.PyJWK] = {}
    for each in listed:
        key = _key(each, place)
        if key.key_id in found:
            named = "no kid" if key.key_id is None else f"the kid {key.key_id[:100]!r}"
            raise MeritError(f"{place}: two keys have {named}; give each one of its own")
        found[key.key_id] = key
    if not found:
        raise MeritError(f"{place}: holds no key that signs; {REMEDY}")
    return found


def _key(told: dict[str, Any], place: str) -> jwt.PyJWK:
    try:
        kind = told["kty"]
        if not all(isinstance(each, str) for each in (kind, told.get("kid", ""), told.get("alg", ""))):
            raise TypeError  # noqa: TRY301  # reported like any unreadable key
        key = jwt.PyJWK(told)
    except Exception as error:  # PyJWT and cryptography raise many types for malformed keys
        raise _unreadable(place, error) from error
    if key.algorithm_name not in ALGORITHMS.get(kind, ()):
        raise MeritError(
            f"{place}: a key is for {key.algorithm_name}; allowed: RS, PS and ES by 256, 384 or 512, and EdDSA"
        )
    if "d" in told:
        raise MeritError(f"{place}: a key is private; put only the issuer's public keys there, and draw a new one")
    if kind == "RSA" and key.key.key_size < LEAST_BITS:
        raise MeritError(f"{place}: an RSA key has {key.key.key_size} bits; at least {LEAST_BITS} are needed")
    return key


def _unreadable(place: str, error: Exception) -> MeritError:
    # Only the type: the error's text may contain the key.
    return MeritError(f"{place}: no JWKS that can be read ({type(error).__name__}); {REMEDY}")


class Tokens:
    """Verifies tokens and caches the valid ones; callers must check the expiry of a cached token.

    Args:
        keys: the signature keys by key id.
        issuer: required issuer of a token.
        audience: required audience of a token.
    """

    def __init__(self, keys: dict[str | None, jwt.PyJWK], issuer: str, audience: str) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._known: OrderedDict[bytes, Token] = OrderedDict()

    def find(self, presented: bytes) -> Token:
        """Verify a token, or look it up in the cache, and return its content.

        Raises:
            Unverified: the token is not valid.
        """
        digest = hashlib.sha256(presented).digest()
        if (known := self._known.get(digest)) is not None:
            return known
        try:
            found = self._verified(presented.decode("ascii"))
        except jwt.MissingRequiredClaimError as error:
            raise Unverified(f"no {error.claim}") from error
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
            raise Unverified(next((why for kind, why in WHY if isinstance(error, kind)), "malformed")) from error
        self._known[digest] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _verified(self, token: str) -> Token:
        key = self._key(jwt.get_unverified_header(token).get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
        name = str(claims.get("sub", ""))[:200]
        name.encode()  # raises on a lone surrogate, which JSON allows but no log could store
        return Token(name, float(claims["exp"]) + LEEWAY, _roles(claims))

    def _key(self, named: Any) -> jwt.PyJWK:
        """Return the key with the token's key id; without an id, the only key there is.

        Raises:
            Unverified: no key matches.
        """
        if named is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if named is None:
            raise Unverified("no kid")
        if (found := self._keys.get(str(named))) is None:
            raise Unverified("kid")
        return found


def _roles(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles of a token: predict and feedback, and metrics if its scope contains it."""
    scopes = str(claims.get("scope", "")).split()
    return ("predict", "feedback", "metrics") if "metrics" in scopes else ("predict", "feedback")
