"""Reads and writes release records: annotated Git tags `release/flights@v3` that name a version's image.

A shared module: `merit release` writes the records, deployments read them.
"""

from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from merit import git, safe_yaml
from merit.errors import MeritError
from merit.registry.tags import Version

DIGEST_PATTERN = r"sha256:[0-9a-f]{64}"


class Release(BaseModel):
    """The image of a version, as stored in its release tag's message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: Annotated[str, Field(pattern=rf"^[^@\s]+@{DIGEST_PATTERN}$")]
    """The image's name by digest: registry/name@sha256:…"""
    sbom: Annotated[str, Field(pattern=f"^{DIGEST_PATTERN}$")]
    """The hash of the image's SBOM file."""
    bytes: Annotated[int, Field(gt=0)]
    """The download size: the compressed layers and the configuration."""
    bento: str
    """The Bento in the image, such as flights:v3."""
    engine: str
    """The engine that built the image: docker, podman or buildah."""

    @property
    def digest(self) -> str:
        """The image's digest, `sha256:…`."""
        return self.image.partition("@")[2]


def format_tag(version: Version) -> str:
    """Return the name of a version's release tag."""
    return f"release/{version.name}"


def find_release(version: Version) -> Release | None:
    """Return the release of a version from local tags; None if there is none.

    Raises:
        MeritError: the release tag is malformed, or on another commit than the version.
    """
    name = format_tag(version)
    output = git.run_git("for-each-ref", "--format=%(*objectname) %(contents:body)", f"refs/tags/{name}")
    if not output:
        return None
    commit, _, body = output.partition(" ")
    if commit != version.commit:
        raise MeritError(f"the tag {name}: is not on the commit of {version.name} ({version.commit[:7]}); delete it")
    try:
        return Release.model_validate(safe_yaml.load(body))
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"the tag {name}: its message is not a release's ({reason}); delete it and release") from error


def record_release(version: Version, release: Release) -> Release:
    """Create the release tag and push it to origin, if there is one; a tag that already exists there wins.

    Returns:
        The release that is recorded, which may be another process's.

    Raises:
        MeritError: the tag can't be created or pushed, or the existing tag is malformed.
    """
    name = format_tag(version)
    body = yaml.safe_dump(release.model_dump(), sort_keys=False, allow_unicode=True)
    is_new = git.create_tag(name, f"{version.name}: image\n\n{body}", version.commit)
    if not git.push_tag(name) and is_new:
        git.delete_tag(name)
        git.fetch_tags()
    return find_release(version) or release
