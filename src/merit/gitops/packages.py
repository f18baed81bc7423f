"""The package of a version on this machine: brought by DVC once, held against its tag and its signature every time."""

from pathlib import Path

from merit import artifacts, signing, versions
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.versions import Version

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
        versions.fetch_package(version, package)
    signing.verify(package, version.lineage.signature, lock.release.signing, demanded)
    return package


def path(version: Version) -> Path:
    """Return where a version's package lies once it was brought; the folder is named by its digest."""
    return FOLDER / version.lineage.package.removeprefix("sha256:") / artifacts.PACKAGE.name


def _is_whole(package: Path, version: Version) -> bool:
    if not package.is_dir():
        return False
    from merit.scoring import verified  # it loads ONNX Runtime, which a plan without a difference doesn't need

    try:
        verified(package)
        return artifacts.package_digest(package) == version.lineage.package
    except MeritError:
        return False
