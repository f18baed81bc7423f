"""Fetches packages of versions with DVC, once per machine, and verifies their digest and signature on every use."""

from pathlib import Path

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import tags
from merit.registry.tags import Version
from merit.signing import signatures

PACKAGES_FOLDER = Path(".merit/packages")


def fetch_package(version: Version, lock: Lock, *, require_signature: bool) -> Path:
    """Return the folder of a version's package, fetched if it is missing, and verified.

    Args:
        version: the version.
        lock: the configuration, which names the trusted signers.
        require_signature: whether the package must be signed.

    Raises:
        MeritError: neither DVC's cache nor its remote has it, its digest differs, or its signature is invalid.
    """
    package = get_folder(version)
    if not _is_complete(package, version):
        tags.fetch_package(version, package)
    else:
        tags.write_signature(version, package)  # the version may have been signed since the fetch
    if (model_name := read_model_name(version.lineage.package)) != version.model:
        raise MeritError(
            f"{version.name}: its package is one of the model {model_name}; 'merit register' made no such version"
        )
    signatures.verify_package(package, version.lineage.signature, lock.release.signing, require_signature)
    return package


def require_package(version: Version) -> None:
    """Check that a version's package is here or in DVC's cache; fetch it into the cache if it is in neither.

    Raises:
        MeritError: neither DVC's cache nor its remote has it.
    """
    if not get_folder(version).is_dir():
        tags.find_package_files(version)


def get_folder(version: Version) -> Path:
    """Return the folder of a version's fetched package; the path contains its digest."""
    return _get_digest_folder(version.lineage.package)


def _get_digest_folder(digest: str) -> Path:
    return PACKAGES_FOLDER / digest.removeprefix("sha256:") / artifacts.PACKAGE.name


def read_model_name(digest: str) -> str | None:
    """Return the model's name from a package's manifest; None if the package is not here."""
    try:
        return str(artifacts.read_json(_get_digest_folder(digest) / artifacts.MANIFEST, "apply")["model"])
    except (MeritError, KeyError):
        return None


def _is_complete(package: Path, version: Version) -> bool:
    if not package.is_dir():
        return False
    from merit.scoring.package import verify_package  # imports ONNX Runtime, which a plan without changes doesn't need

    try:
        verify_package(package)
        return artifacts.hash_package(package) == version.lineage.package
    except MeritError:
        return False
