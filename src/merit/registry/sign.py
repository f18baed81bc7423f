"""sign: a signature for a version that was made without one, as a tag of its own: a version's tag never moves."""

import tempfile
from pathlib import Path

from merit import artifacts, git
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.process import workspace_lock
from merit.registry import tags
from merit.registry.tags import Version
from merit.signing import signatures


def sign(lock: Lock, name: str) -> tuple[Version, bool]:
    """Return a version with its signature, and whether that was made now.

    Args:
        lock: the configuration, whose release.signing says how.
        name: the version, such as v3 or flights@v3.

    Raises:
        MeritError: there is no such version, its package is nowhere, it can't be signed, or a signature that it has
            already doesn't hold, or origin can't be reached.
    """
    with workspace_lock.registry():
        git.fetch_tags()
        version = tags.find(tags.own_name(lock.name, name))
        bundle = _bundle(lock, version)
        return (version, False) if bundle == version.lineage.signature else _tagged(version, bundle)


def _bundle(lock: Lock, version: Version) -> str:
    """Return the signature that a version has, or a new one; either is held against the public key or the identity."""
    settings = lock.release.signing
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / artifacts.PACKAGE.name
        tags.fetch_package(version, folder)
        try:
            bundle = version.lineage.signature or signatures.sign(folder, settings)
            signatures.verify(folder, bundle, settings, demanded=True)
        except MeritError as error:
            raise MeritError(str(error).replace(f"{folder}: ", f"{version.name}: ")) from error
    return bundle


def _tagged(version: Version, bundle: str) -> tuple[Version, bool]:
    """Make the tag of a signature and push it; one that origin does not take is removed again."""
    tag, is_pushed = f"{signatures.TAG}{version.name}", False
    is_new = git.tag(tag, f"{version.name}: signature\n\n{bundle}", version.commit)
    try:
        is_pushed = git.push_tag(tag)
    finally:
        if is_new and not is_pushed:
            git.drop_tag(tag)
    if not is_pushed:
        git.fetch_tags()
    return tags.find(version.name), is_new and is_pushed
