"""The package of a version on this machine: brought by DVC once, held against its tag and its signature every time."""

import shutil
from pathlib import Path
from typing import Any

from merit import artifacts, scoring, signing, versions
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.versions import Version

FOLDER = Path(".merit/packages")
BUNDLE = "model.sig"
"""The signature's name beside the package, where `merit serve` looks for it."""


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
        shutil.rmtree(package, ignore_errors=True)
        with artifacts.written_aside(package) as aside:
            versions.fetch_package(version, aside)
    if version.lineage.signature is not None:
        artifacts.write_text(package.with_name(BUNDLE), version.lineage.signature)
    signing.verify(package, version.lineage.signature, how(lock), demanded)
    return package


def path(version: Version) -> Path:
    """Return where a version's package lies once it was brought; the folder is named by its digest."""
    return FOLDER / version.lineage.package.removeprefix("sha256:") / artifacts.PACKAGE.name


def how(lock: Lock) -> Any:
    """Return whose signature counts."""
    return getattr(getattr(lock, "release", None), "signing", None)


def _is_whole(package: Path, version: Version) -> bool:
    try:
        scoring.verified(package)
        return artifacts.package_digest(package) == version.lineage.package
    except MeritError:
        return False
