"""The signature that travels with a package, held against it by a public key: what an image does before it loads it.

The form is that of OpenSSF model-signing by an elliptic-curve key: a Sigstore bundle, in it a DSSE envelope, in that an
in-toto statement with the SHA-256 of every file. Reading it takes `cryptography` alone; all that signs is elsewhere.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.errors import MeritError

DEMAND = "MERIT_DEMAND_SIGNATURE"
"""Set to 1, a package without a signature is not served."""
DIGEST = "MERIT_DIGEST"
"""The digest of the package that was verified at the start: a process that starts later must not serve another one."""
SUFFIX, PUBLIC_KEY = ".sig", ".pub"
"""What the signature of a package's folder, and the key it is held against, are called beside it: `model.sig`."""
PAYLOAD = "application/vnd.in-toto+json"
PREDICATE = "https://model_signing/signature/v1.0"


def check(folder: Path) -> None:
    """Hold a package against the signature and the public key that lie beside it, if the key does, or both must.

    Raises:
        MeritError: a file was changed, is missing or extra, another key signed it, or what must be there is not; or it
            is another package than was verified at the start.
    """
    if (wanted := os.environ.get(DIGEST)) and (found := artifacts.package_digest(folder)) != wanted:
        raise MeritError(f"{folder}: is {found}, but the service was started with {wanted}; start it again")
    key, bundle = (folder.with_name(folder.name + suffix) for suffix in (PUBLIC_KEY, SUFFIX))
    is_demanded = os.environ.get(DEMAND) == "1"
    if not key.is_file() and not is_demanded:
        return
    for file in (key, bundle):
        if not file.is_file():
            raise MeritError(f"{file}: not found, and {folder} must be signed; 'merit release' puts it there")
    hold(folder, bundle.read_text(encoding="utf-8"), key.read_bytes())


def hold(folder: Path, bundle: str, public_key: bytes) -> None:
    """Hold every file of a package against its signature.

    Args:
        folder: the package.
        bundle: its signature as JSON.
        public_key: in PEM.

    Raises:
        MeritError: a file was changed, is missing or extra, or the signature is not by this key.
    """
    try:
        signed = _signed(json.loads(bundle), public_key)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MeritError(f"{folder}: its signature can't be read ({type(error).__name__}: {error})") from error
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    differences = {
        "extra": sorted(found.keys() - signed.keys()),
        "missing": sorted(signed.keys() - found.keys()),
        "changed": sorted(name for name in found.keys() & signed.keys() if not _is(found[name], signed[name])),
    }
    if told := "; ".join(f"{what}: {', '.join(names)}" for what, names in differences.items() if names):
        raise MeritError(f"{folder}: not what was signed: {told}")


def _is(file: Path, digest: str) -> bool:
    return not file.is_symlink() and artifacts.sha256(file) == digest


def _signed(bundle: dict[str, Any], public_key: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file that a bundle signs, once the signature is found to be by the key."""
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    _verify(public_key, base64.b64decode(envelope["signatures"][0]["sig"], validate=True), payload)
    statement = json.loads(payload)
    if (envelope["payloadType"], statement["predicateType"]) != (PAYLOAD, PREDICATE):
        raise ValueError(f"it is of the form {str(statement['predicateType'])[:80]!r}, not {PREDICATE!r}")
    resources = statement["predicate"]["resources"]
    if other := {str(each["algorithm"]) for each in resources} - {"sha256"}:
        raise ValueError(f"it hashes by {', '.join(sorted(other))}, not sha256")
    return {str(each["name"]): str(each["digest"]) for each in resources}


def _verify(public_key: bytes, signature: bytes, payload: bytes) -> None:
    """Verify what an envelope signs; the hash goes by the curve, as Sigstore has it.

    Raises:
        MeritError: the signature is not by this key.
        ValueError: it is no key of a curve that is used.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    by_size: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    key = serialization.load_pem_public_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in by_size:
        raise ValueError("the public key is none of an elliptic curve of 256, 384 or 521 bits")
    # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    try:
        key.verify(signature, encoded, ec.ECDSA(by_size[key.curve.key_size]))
    except InvalidSignature as error:
        raise MeritError("the signature of the package is not by the public key beside it") from error
