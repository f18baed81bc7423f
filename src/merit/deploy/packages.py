"""Fetches packages of versions with DVC, once per machine, and verifies their digest and signature on every use."""

from pathlib import Path

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import tags
from merit.registry.tags import Version
from merit.signing import signatures

FOLDER = Path(".merit/packages")


def fetch(version: Version, lock: Lock, *, demanded: bool) -> Path:
    """Return the folder of a version's package, fetched if it is missing, and verified.

    Args:
        version: the version.
        lock: the configuration, which names the trusted signers.
        demanded: whether the package must be signed.

    Raises:
        MeritError: neither DVC's cache nor its remote has it, its digest differs, or its signature is invalid.
    """
    package = path(version)
    if not _is_whole(package, version):
        tags.fetch_package(version, package)
    else:
        tags.put_signature(version, package)  # the version may have been signed since the fetch
    if (found := model(version.lineage.package)) != version.model:
        raise MeritError(
            f"{version.name}: its package is one of the model {found}; 'merit register' made no such version"
        )
    signatures.verify(package, version.lineage.signature, lock.release.signing, demanded)
    return package


def require(version: Version) -> None:
    """Check that a version's package is here or in DVC's cache; fetch it into the cache if it is in neither.

    Raises:
        MeritError: neither DVC's cache nor its remote has it.
    """
    if not path(version).is_dir():
        tags.package_files(version)


def path(version: Version) -> Path:
    """Return the folder of a version's fetched package; the path contains its digest."""
    return _path(version.lineage.package)


def _path(digest: str) -> Path:
    return FOLDER / digest.removeprefix("sha256:") / artifacts.PACKAGE.name


def model(digest: str) -> str | None:
    """Return the model's name from a package's manifest; None if the package is not here."""
    try:
        return str(artifacts.read_json(_path(digest) / artifacts.MANIFEST, "apply")["model"])
    except (MeritError, KeyError):
        return None


def _is_whole(package: Path, version: Version) -> bool:
    if not package.is_dir():
        return False
    from merit.scoring.package import verified  # imports ONNX Runtime, which a plan without changes doesn't need

    try:
        verified(package)
        return artifacts.package_digest(package) == version.lineage.package
    except MeritError:
        return False
