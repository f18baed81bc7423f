"""Signatures of packages by OpenSSF model-signing: a Sigstore bundle over every file, by a key or by an identity."""

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
"""The variable that names the file of the private key; the key itself is never shown, logged or put in Git."""
TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  # the name of a variable
SECTION = "release.signing"
TAG = "signature/"
"""What the tag of a signature that was made after its version is called, before the version's own name."""


def later(model: str) -> dict[tuple[str, str], str]:
    """Return the signatures that versions of a model got after they were made, by version and commit."""
    form = "%(refname:strip=3)%00%(*objectname)%00%(contents:body)%00"
    parts = (git.git("for-each-ref", f"--format={form}", f"refs/tags/{TAG}{model}@v*") or "").split("\0")
    return {(parts[at].strip(), parts[at + 1]): parts[at + 2].strip() for at in range(0, len(parts) - 2, 3)}


def sign(folder: Path, how: Signing) -> str:
    """Sign every file of a package; return the bundle as JSON.

    Args:
        folder: the package; the signature is not put into it.
        how: by what; the method `none` signs nothing.

    Raises:
        MeritError: there is no key or identity to sign by, or Sigstore can't be reached.
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
    """Hold a package against its signature.

    Args:
        folder: the package.
        bundle: its signature as JSON, or None if it has none.
        how: whose signature counts. By the method `none` nobody's does, so that nothing is checked.
        demanded: whether a package without a signature is refused.

    Raises:
        MeritError: a file was changed, is missing or extra; another key or identity signed it; it has no signature and
            must have one.
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
            raise MeritError(f"{folder}: not what was signed by whom {SECTION} names: {_difference(error)}") from error


def _verifier(how: Signing) -> Any:
    """Return who verifies.

    Raises:
        MeritError: the public key can't be read, or Sigstore's root of trust can't be had.
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
    """Return what the library found, without the hashes."""
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
    """Return what is hashed: every file. By itself the library leaves out those that are called as Git's own."""
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
    """Return the file of the public key that signatures are held against.

    Raises:
        MeritError: it is not there.
    """
    file = Path(how.public_key or "")
    if not file.is_file():
        raise MeritError(
            f"{SECTION}.public_key: found {how.public_key!r}, which is no file; commit the public key there"
        )
    return file


def _token() -> str:
    """Return the identity token of this job; nobody is asked in a browser."""
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
