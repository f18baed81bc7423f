"""The package of a version on this machine: brought by DVC once, held against its tag and its signature every time."""

from pathlib import Path

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import tags
from merit.registry.tags import Version
from merit.signing import signatures

FOLDER = Path(".merit/packages")


def fetch(version: Version, lock: Lock, *, demanded: bool) -> Path:
    """Return the folder of a version's package, brought if it is not here, and verified.

    Args:
        version: whose.
        lock: the configuration, which says whose signature counts.
        demanded: whether it must be signed.

    Raises:
        MeritError: neither DVC's cache nor its remote has it, it is another package, or its signature doesn't hold.
    """
    package = path(version)
    if not _is_whole(package, version):
        tags.fetch_package(version, package)
    else:
        tags.put_signature(version, package)  # which it may have got since
    if (found := model(version.lineage.package)) != version.model:
        raise MeritError(
            f"{version.name}: its package is one of the model {found}; 'merit register' made no such version"
        )
    signatures.verify(package, version.lineage.signature, lock.release.signing, demanded)
    return package


def require(version: Version) -> None:
    """Check that a version's package is here, or in DVC's cache, where it is brought to if need be.

    Raises:
        MeritError: neither DVC's cache nor its remote has it.
    """
    if not path(version).is_dir():
        tags.package_files(version)


def path(version: Version) -> Path:
    """Return where a version's package lies once it was brought; the folder is named by its digest."""
    return _path(version.lineage.package)


def _path(digest: str) -> Path:
    return FOLDER / digest.removeprefix("sha256:") / artifacts.PACKAGE.name


def model(digest: str) -> str | None:
    """Return what the model of a package is called; None if the package is not here."""
    try:
        return str(artifacts.read_json(_path(digest) / artifacts.MANIFEST, "apply")["model"])
    except (MeritError, KeyError):
        return None


def _is_whole(package: Path, version: Version) -> bool:
    if not package.is_dir():
        return False
    from merit.scoring.package import verified  # it loads ONNX Runtime, which a plan without a difference doesn't need

    try:
        verified(package)
        return artifacts.package_digest(package) == version.lineage.package
    except MeritError:
        return False
