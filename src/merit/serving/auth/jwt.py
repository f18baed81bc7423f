"""Tokens: JSON Web Tokens, verified by the public keys of a JWKS file. Imports PyJWT, where they are asked for."""

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
"""What tokens may be signed by, by the kind of the key. There is no `none`, and nothing that shares a secret."""
LEAST_BITS = 2048
"""The smallest RSA key that counts."""
LEEWAY = 30
"""Seconds that two clocks may be apart."""
REMEDY = "put the issuer's public keys there"
"""What to do where the file of the keys is not right."""
REMEMBERED = 4096
"""Tokens that need not be verified again."""


class Token(NamedTuple):
    """What a token says that holds.

    Attributes:
        name: its subject.
        ends: when it expires, leeway included, in seconds since 1970.
        roles: what it may be used for.
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
"""Why a token does not hold, by what PyJWT raises; all else is `malformed`."""


def reader(issuer: str | None, audience: str | None) -> Callable[[str, str], "Tokens"]:
    """Return what makes of a JWKS file what verifies tokens of an issuer for an audience.

    Raises:
        MeritError: one of them is not told.
    """
    if not issuer or not audience:
        raise MeritError("serve.auth: the method jwt needs issuer and audience, to say whose tokens count")
    return lambda text, place: Tokens(_keys(text, place), issuer, audience)


def _keys(text: str, place: str) -> dict[str | None, jwt.PyJWK]:
    """Return the keys of a JWKS file that sign, by their id; one may have none."""
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
            raise TypeError  # noqa: TRY301  # told as all that can't be read
        key = jwt.PyJWK(told)
    except Exception as error:  # PyJWT and cryptography raise whatever the numbers of a key make them stumble over
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
    # The error's text may hold the key.
    return MeritError(f"{place}: no JWKS that can be read ({type(error).__name__}); {REMEDY}")


class Tokens:
    """Verifies tokens, each once as long as it is remembered.

    Args:
        keys: by their id.
        issuer: who must have issued a token.
        audience: whom it must be meant for.
    """

    def __init__(self, keys: dict[str | None, jwt.PyJWK], issuer: str, audience: str) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._known: OrderedDict[bytes, Token] = OrderedDict()

    def find(self, presented: bytes) -> Token:
        """Return what a token says.

        Raises:
            Unverified: it is not verified.
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
        name.encode()  # half of a pair, which JSON can write, is no text: nothing of whom it names could be kept
        return Token(name, float(claims["exp"]) + LEEWAY, _roles(claims))

    def _key(self, named: Any) -> jwt.PyJWK:
        """Return the key by which a token says it was signed; the only one there is, if it does not say."""
        if named is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if named is None:
            raise Unverified("no kid")
        if (found := self._keys.get(str(named))) is None:
            raise Unverified("kid")
        return found


def _roles(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return what a token is for: predictions and feedback, and metrics where its scope says so."""
    scopes = str(claims.get("scope", "")).split()
    return ("predict", "feedback", "metrics") if "metrics" in scopes else ("predict", "feedback")
