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

PRIVATE_KEY_VARIABLE = "MERIT_SIGNING_KEY"
"""The variable with the path of the private key file; the key itself is never printed, logged or committed."""
TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN"  # noqa: S105  # the name of a variable
SETTINGS_SECTION = "release.signing"
TAG_PREFIX = "signature/"
"""The prefix of tags that hold a signature made after the registration: `signature/flights@v3`."""


def read_signature_tags(model: str) -> dict[tuple[str, str], str]:
    """Return the signatures in signature tags of a model's versions, by version name and commit."""
    tag_format = "%(refname:strip=3)%00%(*objectname)%00%(contents:body)%00"
    parts = (git.run_git("for-each-ref", f"--format={tag_format}", f"refs/tags/{TAG_PREFIX}{model}@v*") or "").split(
        "\0"
    )
    return {(parts[at].strip(), parts[at + 1]): parts[at + 2].strip() for at in range(0, len(parts) - 2, 3)}


def sign_package(folder: Path, settings: Signing) -> str:
    """Sign every file of a package; return the Sigstore bundle as JSON.

    Args:
        folder: the package; the signature is not written into it.
        settings: the section `release.signing` of the lock.

    Raises:
        MeritError: the method is none, there is no key or identity token, or Sigstore can't be reached.
    """
    if settings.method == "none":
        raise MeritError(f"{SETTINGS_SECTION}.method is none, so nothing is signed; key and keyless sign")
    from model_signing import signing

    signer: Any = signing.Config()  # type: ignore[no-untyped-call]
    signer.set_hashing_config(_create_hashing_config())
    try:
        if settings.method == "key":
            signer.use_elliptic_key_signer(private_key=_find_private_key())
        else:
            signer.use_sigstore_signer(identity_token=_get_identity_token())
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            signer.sign(folder, bundle)
            return bundle.read_text(encoding="utf-8")
    except MeritError:
        raise
    except Exception as error:  # a dozen unrelated types, from OpenSSL's to those of Sigstore's servers
        raise MeritError(
            f"{folder}: can't be signed by {SETTINGS_SECTION}.method {settings.method}: {_format_error(error)}"
        ) from error


def verify_package(folder: Path, bundle: str | None, settings: Signing, is_required: bool) -> None:
    """Verify a package against its signature.

    Args:
        folder: the package.
        bundle: its Sigstore bundle as JSON, or None if it has none.
        settings: the section `release.signing`, with the trusted key or identity; its method `none` checks nothing.
        is_required: whether a package without a signature is refused.

    Raises:
        MeritError: a file was changed, is missing or extra; another key or identity signed it; or a demanded signature
            is missing.
    """
    if settings.method == "none":
        if is_required:
            raise MeritError(
                f"{folder}: a signature is demanded, but {SETTINGS_SECTION}.method is none; set it to key or keyless"
            )
        return
    if bundle is None:
        if is_required:
            raise MeritError(f"{folder}: has no signature, and one is demanded; 'merit sign VERSION' gives one")
        return
    verifier = _create_verifier(settings)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "bundle"
        file.write_text(bundle, encoding="utf-8")
        try:
            verifier.verify(folder, file)
        except Exception as error:  # a dozen unrelated types, from those of JSON to OpenSSL's
            raise MeritError(
                f"{folder}: not what the signer in {SETTINGS_SECTION} signed: {_describe_mismatch(error)}"
            ) from error


def _create_verifier(settings: Signing) -> Any:
    """Return the library's verifier for the configured method.

    Raises:
        MeritError: the public key can't be read, or Sigstore's root of trust can't be loaded.
    """
    from model_signing import verifying

    verifier: Any = verifying.Config()  # type: ignore[no-untyped-call]
    verifier.set_hashing_config(_create_hashing_config())
    file = find_public_key(settings) if settings.method == "key" else None
    try:
        if file is not None:
            return verifier.use_elliptic_key_verifier(public_key=file)
        return verifier.use_sigstore_verifier(identity=settings.identity, oidc_issuer=settings.issuer)
    except Exception as error:
        raise MeritError(
            f"{SETTINGS_SECTION}: can't verify by the method {settings.method}: {_format_error(error)}"
        ) from error


def _describe_mismatch(error: BaseException) -> str:
    """Return the library's error as a list of extra, missing and changed files, without their hashes."""
    text = str(error)
    if not text.startswith("Signature mismatch"):
        return _format_error(error)
    mismatches = {
        "extra": re.findall(r"Extra files found in model [^:]*: ([^\"\]]*)", text),
        "missing": re.findall(r"Missing files in model [^:]*: ([^\"\]]*)", text),
        "changed": re.findall(r"Hash mismatch for \\?'(.*?)\\?':", text),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in mismatches.items() if names) or _format_error(
        error
    )


def _create_hashing_config() -> "hashing.Config":
    """Return a hashing configuration that covers every file; the library's default skips Git's own files."""
    from model_signing import hashing

    config = hashing.Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[], ignore_git_paths=False)


def _find_private_key() -> Path:
    key_path = os.environ.get(PRIVATE_KEY_VARIABLE)
    if not key_path:
        raise MeritError(
            f"{PRIVATE_KEY_VARIABLE}: not set; {SETTINGS_SECTION}.method is key, so it must name the file of the "
            "private key"
        )
    if not Path(key_path).is_file():
        raise MeritError(
            f"{PRIVATE_KEY_VARIABLE}: names no file; it must be that of an elliptic-curve private key in PEM"
        )
    return Path(key_path)


def find_public_key(settings: Signing) -> Path:
    """Return the file of the public key that signatures are verified against.

    Raises:
        MeritError: the file doesn't exist.
    """
    file = Path(settings.public_key or "")
    if not file.is_file():
        raise MeritError(
            f"{SETTINGS_SECTION}.public_key: found {settings.public_key!r}, which is no file; commit the public key "
            "there"
        )
    return file


def _get_identity_token() -> str:
    """Return the identity token of this CI job; there is no interactive login in a browser."""
    from sigstore import oidc

    token = os.environ.get(TOKEN_VARIABLE) or oidc.detect_credential()
    if not token:
        raise MeritError(
            f"{SETTINGS_SECTION}.method is keyless, but there is no identity token: in a workflow's job set "
            "'permissions: "
            f"id-token: write'; elsewhere give {TOKEN_VARIABLE}, or sign by a key"
        )
    return token


def _format_error(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
