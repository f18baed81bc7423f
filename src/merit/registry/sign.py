"""`merit sign`: signs a version that was registered without a signature.

The signature is stored in a tag of its own, `signature/flights@v3`, because a version's tag never changes.
"""

import tempfile
from pathlib import Path

from merit import artifacts, git
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.process import workspace_lock
from merit.registry import tags
from merit.registry.tags import Version
from merit.signing import signatures


def sign_version(lock: Lock, name: str) -> tuple[Version, bool]:
    """Return a version with its signature, and whether the signature was created by this call.

    Args:
        lock: the configuration; release.signing sets the method.
        name: the version, such as v3 or flights@v3.

    Raises:
        MeritError: there is no such version, its package can't be fetched, it can't be signed, its existing signature
            is invalid, or origin can't be reached.
    """
    with workspace_lock.lock_registry():
        git.fetch_tags()
        version = tags.find_version(tags.require_own_name(lock.name, name))
        bundle = _load_or_create_signature(lock, version)
        return (version, False) if bundle == version.lineage.signature else _tag_signature(version, bundle)


def _load_or_create_signature(lock: Lock, version: Version) -> str:
    """Return a version's signature, created if it has none; both are verified against the public key or identity."""
    settings = lock.release.signing
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / artifacts.PACKAGE.name
        tags.fetch_package(version, folder)
        try:
            bundle = version.lineage.signature or signatures.sign_package(folder, settings)
            signatures.verify_package(folder, bundle, settings, is_required=True)
        except MeritError as error:
            raise MeritError(str(error).replace(f"{folder}: ", f"{version.name}: ")) from error
    return bundle


def _tag_signature(version: Version, bundle: str) -> tuple[Version, bool]:
    """Create and push a signature's tag; a tag that origin rejects is removed here."""
    tag, is_pushed = f"{signatures.TAG_PREFIX}{version.name}", False
    is_new = git.create_tag(tag, f"{version.name}: signature\n\n{bundle}", version.commit)
    try:
        is_pushed = git.push_tag(tag)
    finally:
        if is_new and not is_pushed:
            git.delete_tag(tag)
    if not is_pushed:
        git.fetch_tags()
    return tags.find_version(version.name), is_new and is_pushed
