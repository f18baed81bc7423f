"""Verifies a package against the signature and public key beside it, before an image loads the package.

The format is that of OpenSSF model-signing with an elliptic-curve key: a Sigstore bundle with a DSSE envelope, which
holds an in-toto statement with the SHA-256 of every file. Verification needs `cryptography` only, so that images need
no signing libraries; `signatures` creates signatures.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.errors import MeritError

REQUIRE_SIGNATURE_VARIABLE = "MERIT_DEMAND_SIGNATURE"
"""If set to 1, a package without a signature is not served."""
DIGEST_VARIABLE = "MERIT_DIGEST"
"""The digest of the package verified at startup: worker processes that start later must not serve another one."""
SIGNATURE_SUFFIX, PUBLIC_KEY_SUFFIX = ".sig", ".pub"
"""Suffixes of the signature and the public key beside a package's folder: `model.sig`, `model.pub`."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def check_package(folder: Path) -> None:
    """Verify a package against the signature and the public key beside it.

    Nothing is verified if there is no public key and no signature is demanded.

    Raises:
        MeritError: a file was changed, is missing or extra, another key signed it, the signature or key is missing, or
            the package is not the one verified at startup.
    """
    if (expected := os.environ.get(DIGEST_VARIABLE)) and (digest := artifacts.hash_package(folder)) != expected:
        raise MeritError(f"{folder}: is {digest}, but the service was started with {expected}; start it again")
    key, bundle = (folder.with_name(folder.name + suffix) for suffix in (PUBLIC_KEY_SUFFIX, SIGNATURE_SUFFIX))
    is_required = os.environ.get(REQUIRE_SIGNATURE_VARIABLE) == "1"
    if not key.is_file() and not is_required:
        return
    for file in (key, bundle):
        if not file.is_file():
            raise MeritError(f"{file}: not found, and {folder} must be signed; 'merit release' puts it there")
    verify_files(folder, bundle.read_text(encoding="utf-8"), key.read_bytes())


def verify_files(folder: Path, bundle: str, public_key: bytes) -> None:
    """Verify every file of a package against its signature.

    Args:
        folder: the package.
        bundle: its Sigstore bundle as JSON.
        public_key: the public key in PEM.

    Raises:
        MeritError: a file was changed, is missing or extra, or the signature is not by this key.
    """
    try:
        signed_hashes = _read_signed_hashes(json.loads(bundle), public_key)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MeritError(f"{folder}: its signature can't be read ({type(error).__name__}: {error})") from error
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    differences = {
        "extra": sorted(paths.keys() - signed_hashes.keys()),
        "missing": sorted(signed_hashes.keys() - paths.keys()),
        "changed": sorted(
            name for name in paths.keys() & signed_hashes.keys() if not _has_digest(paths[name], signed_hashes[name])
        ),
    }
    if summary := "; ".join(f"{what}: {', '.join(names)}" for what, names in differences.items() if names):
        raise MeritError(f"{folder}: not what was signed: {summary}")


def _has_digest(file: Path, digest: str) -> bool:
    return not file.is_symlink() and artifacts.hash_file(file) == digest


def _read_signed_hashes(bundle: dict[str, Any], public_key: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file in a bundle, after verifying that the key signed the bundle."""
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    _verify_signature(public_key, base64.b64decode(envelope["signatures"][0]["sig"], validate=True), payload)
    statement = json.loads(payload)
    if (envelope["payloadType"], statement["predicateType"]) != (PAYLOAD_TYPE, PREDICATE_TYPE):
        raise ValueError(f"its predicate type is {str(statement['predicateType'])[:80]!r}, not {PREDICATE_TYPE!r}")
    resources = statement["predicate"]["resources"]
    if unsupported := {str(each["algorithm"]) for each in resources} - {"sha256"}:
        raise ValueError(f"it hashes by {', '.join(sorted(unsupported))}, not sha256")
    return {str(each["name"]): str(each["digest"]) for each in resources}


def _verify_signature(public_key: bytes, signature: bytes, payload: bytes) -> None:
    """Verify the signature of a DSSE envelope's payload; the curve determines the hash algorithm, as in Sigstore.

    Raises:
        MeritError: the signature is not by this key.
        ValueError: the key is not on a supported curve.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    hash_by_curve_size: dict[int, hashes.HashAlgorithm] = {
        256: hashes.SHA256(),
        384: hashes.SHA384(),
        521: hashes.SHA512(),
    }
    key = serialization.load_pem_public_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in hash_by_curve_size:
        raise ValueError("the public key is none of an elliptic curve of 256, 384 or 521 bits")
    # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        key.verify(signature, encoded, ec.ECDSA(hash_by_curve_size[key.curve.key_size]))
    except InvalidSignature as error:
        raise MeritError("the signature of the package is not by the public key beside it") from error
