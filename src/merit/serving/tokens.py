"""Tokens: JSON Web Tokens, verified by the public keys of a JWKS file. Imports PyJWT, where they are asked for."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from merit.errors import MeritError

ALGORITHMS = {"RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "EC": {"ES256", "ES384", "ES512"}}
ALGORITHMS["OKP"] = {"EdDSA"}
"""What tokens may be signed by, by the kind of the key. There is no `none`, and nothing that shares a secret."""
LEAST_BITS = 2048
"""The smallest RSA key that counts."""
LEEWAY = 30
"""Seconds that two clocks may be apart."""
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


EXPIRED = Token("", 0.0, ())


def reader(issuer: str | None, audience: str | None) -> Callable[[str, str], "Tokens"]:
    """Return what makes of a JWKS file what verifies tokens of an issuer for an audience.

    Raises:
        MeritError: one of them is not told.
    """
    if not issuer or not audience:
        raise MeritError("serve.auth: the method jwt needs issuer and audience, to say whose tokens count")
    return lambda text, place: Tokens(_keys(text, place), issuer, audience)


def _keys(text: str, place: str) -> dict[str, jwt.PyJWK]:
    try:
        listed = [each for each in json.loads(text)["keys"] if each.get("use", "sig") == "sig"]
        found = [jwt.PyJWK(each) for each in listed]
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        # The error's text may hold the key.
        raise MeritError(
            f"{place}: no JWKS that can be read ({type(error).__name__}); put the issuer's public keys there"
        ) from error
    for each, key in zip(listed, found, strict=True):
        if key.algorithm_name not in ALGORITHMS.get(str(each.get("kty")), ()):
            raise MeritError(
                f"{place}: a key is for {key.algorithm_name}; allowed: RS, PS and ES by 256, 384 or 512, and EdDSA"
            )
        if "d" in each:
            raise MeritError(f"{place}: a key is private; put only the issuer's public keys there, and draw a new one")
        if each["kty"] == "RSA" and key.key.key_size < LEAST_BITS:
            raise MeritError(f"{place}: an RSA key has {key.key.key_size} bits; at least {LEAST_BITS} are needed")
    if not found:
        raise MeritError(f"{place}: holds no key that signs; put the issuer's public keys there")
    return {str(key.key_id or ""): key for key in found}


class Tokens:
    """Verifies tokens, each once as long as it is remembered.

    Args:
        keys: by their id.
        issuer: who must have issued a token.
        audience: whom it must be meant for.
    """

    def __init__(self, keys: dict[str, jwt.PyJWK], issuer: str, audience: str) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._known: OrderedDict[bytes, Token] = OrderedDict()

    def find(self, presented: bytes) -> Token | None:
        """Return what a token says, if it is verified; None if it is not."""
        digest = hashlib.sha256(presented).digest()
        if (known := self._known.get(digest)) is not None:
            return known
        try:
            found = self._verified(presented.decode("ascii"))
        except jwt.ExpiredSignatureError:
            return EXPIRED  # said only once the signature holds
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, RecursionError, OverflowError):
            return None
        self._known[digest] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _verified(self, token: str) -> Token:
        named = jwt.get_unverified_header(token).get("kid")
        key = self._keys[str(named)] if named is not None else _only(self._keys)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
        return Token(str(claims.get("sub", ""))[:200], float(claims["exp"]) + LEEWAY, _roles(claims))


def _only(keys: dict[str, jwt.PyJWK]) -> jwt.PyJWK:
    """Return the one key there is, for a token that does not say by which it was signed."""
    (key,) = keys.values()
    return key


def _roles(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return what a token is for: predictions and feedback, and metrics where its scope says so."""
    scopes = str(claims.get("scope", "")).split()
    return ("predict", "feedback", "metrics") if "metrics" in scopes else ("predict", "feedback")
