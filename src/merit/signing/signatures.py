"""Signs and verifies packages with OpenSSF model-signing: a Sigstore bundle over every file, by key or by identity."""

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit import git
from merit.config.schema.release import Signing
from merit.errors import MeritError

if TYPE_CHECKING:
    from model_signing import hashing

PRIVATE_KEY = "MERIT_SIGNING_KEY"
"""The variable with the path of the private key file; the key itself is never printed, logged or committed."""
TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  # the name of a variable
SECTION = "release.signing"
TAG = "signature/"
"""The prefix of tags that hold a signature made after the registration: `signature/flights@v3`."""


def later(model: str) -> dict[tuple[str, str], str]:
    """Return the signatures in signature tags of a model's versions, by version name and commit."""
    form = "%(refname:strip=3)%00%(*objectname)%00%(contents:body)%00"
    parts = (git.git("for-each-ref", f"--format={form}", f"refs/tags/{TAG}{model}@v*") or "").split("\0")
    return {(parts[at].strip(), parts[at + 1]): parts[at + 2].strip() for at in range(0, len(parts) - 2, 3)}


def sign(folder: Path, how: Signing) -> str:
    """Sign every file of a package; return the Sigstore bundle as JSON.

    Args:
        folder: the package; the signature is not written into it.
        how: the section `release.signing` of the lock.

    Raises:
        MeritError: the method is none, there is no key or identity token, or Sigstore can't be reached.
    """
    if how.method == "none":
        raise MeritError(f"{SECTION}.method is none, so nothing is signed; key and keyless sign")
    from model_signing import signing

    by: Any = signing.Config()  # type: ignore[no-untyped-call]
    by.set_hashing_config(_hashing())
    try:
        if how.method == "key":
            by.use_elliptic_key_signer(private_key=_private_key())
        else:
            by.use_sigstore_signer(identity_token=_token())
        with tempfile.TemporaryDirectory() as room:
            bundle = Path(room) / "bundle"
            by.sign(folder, bundle)
            return bundle.read_text(encoding="utf-8")
    except MeritError:
        raise
    except Exception as error:  # a dozen unrelated types, from OpenSSL's to those of Sigstore's servers
        raise MeritError(f"{folder}: can't be signed by {SECTION}.method {how.method}: {_line(error)}") from error


def verify(folder: Path, bundle: str | None, how: Signing, demanded: bool) -> None:
    """Verify a package against its signature.

    Args:
        folder: the package.
        bundle: its Sigstore bundle as JSON, or None if it has none.
        how: the section `release.signing`, with the trusted key or identity; its method `none` checks nothing.
        demanded: whether a package without a signature is refused.

    Raises:
        MeritError: a file was changed, is missing or extra; another key or identity signed it; or a demanded signature
            is missing.
    """
    if how.method == "none":
        if demanded:
            raise MeritError(
                f"{folder}: a signature is demanded, but {SECTION}.method is none; set it to key or keyless"
            )
        return
    if bundle is None:
        if demanded:
            raise MeritError(f"{folder}: has no signature, and one is demanded; 'merit sign VERSION' gives one")
        return
    verifier = _verifier(how)
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "bundle"
        file.write_text(bundle, encoding="utf-8")
        try:
            verifier.verify(folder, file)
        except Exception as error:  # a dozen unrelated types, from those of JSON to OpenSSL's
            raise MeritError(f"{folder}: not what the signer in {SECTION} signed: {_difference(error)}") from error


def _verifier(how: Signing) -> Any:
    """Return the library's verifier for the configured method.

    Raises:
        MeritError: the public key can't be read, or Sigstore's root of trust can't be loaded.
    """
    from model_signing import verifying

    by: Any = verifying.Config()  # type: ignore[no-untyped-call]
    by.set_hashing_config(_hashing())
    file = public_key(how) if how.method == "key" else None
    try:
        if file is not None:
            return by.use_elliptic_key_verifier(public_key=file)
        return by.use_sigstore_verifier(identity=how.identity, oidc_issuer=how.issuer)
    except Exception as error:
        raise MeritError(f"{SECTION}: can't verify by the method {how.method}: {_line(error)}") from error


def _difference(error: BaseException) -> str:
    """Return the library's error as a list of extra, missing and changed files, without their hashes."""
    text = str(error)
    if not text.startswith("Signature mismatch"):
        return _line(error)
    found = {
        "extra": re.findall(r"Extra files found in model [^:]*: ([^\"\]]*)", text),
        "missing": re.findall(r"Missing files in model [^:]*: ([^\"\]]*)", text),
        "changed": re.findall(r"Hash mismatch for \\?'(.*?)\\?':", text),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in found.items() if names) or _line(error)


def _hashing() -> "hashing.Config":
    """Return a hashing configuration that covers every file; the library's default skips Git's own files."""
    from model_signing import hashing

    made = hashing.Config()  # type: ignore[no-untyped-call]
    return made.set_ignored_paths(paths=[], ignore_git_paths=False)


def _private_key() -> Path:
    name = os.environ.get(PRIVATE_KEY)
    if not name:
        raise MeritError(
            f"{PRIVATE_KEY}: not set; {SECTION}.method is key, so it must name the file of the private key"
        )
    if not Path(name).is_file():
        raise MeritError(f"{PRIVATE_KEY}: names no file; it must be that of an elliptic-curve private key in PEM")
    return Path(name)


def public_key(how: Signing) -> Path:
    """Return the file of the public key that signatures are verified against.

    Raises:
        MeritError: the file doesn't exist.
    """
    file = Path(how.public_key or "")
    if not file.is_file():
        raise MeritError(
            f"{SECTION}.public_key: found {how.public_key!r}, which is no file; commit the public key there"
        )
    return file


def _token() -> str:
    """Return the identity token of this CI job; there is no interactive login in a browser."""
    from sigstore import oidc

    token = os.environ.get(TOKEN) or oidc.detect_credential()
    if not token:
        raise MeritError(
            f"{SECTION}.method is keyless, but there is no identity token: in a workflow's job set 'permissions: "
            f"id-token: write'; elsewhere give {TOKEN}, or sign by a key"
        )
    return token


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
