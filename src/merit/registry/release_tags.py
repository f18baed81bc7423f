"""Releases: which image a version has, as annotated Git tags `release/flights@v3` say on the version's commit.

On the shared floor: a release writes them, environments read them.
"""

from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from merit import git, safe_yaml
from merit.errors import MeritError
from merit.registry.tags import Version

DIGEST = r"sha256:[0-9a-f]{64}"


class Release(BaseModel):
    """The image of a version, in the words of its tag's message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: Annotated[str, Field(pattern=rf"^[^@\s]+@{DIGEST}$")]
    """Where it is, by digest: registry/name@sha256:…"""
    sbom: Annotated[str, Field(pattern=f"^{DIGEST}$")]
    """The hash of the file that says what is in it."""
    bytes: Annotated[int, Field(gt=0)]
    """What a machine loads to have it: its layers as the registry keeps them, and its configuration."""
    bento: str
    """The Bento in it, such as flights:v3."""
    engine: str
    """What built it."""

    @property
    def digest(self) -> str:
        """The digest alone."""
        return self.image.partition("@")[2]


def tag_of(version: Version) -> str:
    """Return the name of the tag that the release of a version has."""
    return f"release/{version.name}"


def find(version: Version) -> Release | None:
    """Return the release of a version as local tags have it; None if there is none.

    Raises:
        MeritError: there is such a tag, but it says something else, or is on another commit.
    """
    name = tag_of(version)
    told = git.git("for-each-ref", "--format=%(*objectname) %(contents:body)", f"refs/tags/{name}")
    if not told:
        return None
    commit, _, body = told.partition(" ")
    if commit != version.commit:
        raise MeritError(f"the tag {name}: is not on the commit of {version.name} ({version.commit[:7]}); delete it")
    try:
        return Release.model_validate(safe_yaml.load(body))
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"the tag {name}: its message is not a release's ({reason}); delete it and release") from error


def record(version: Version, release: Release) -> Release:
    """Make the tag of a release and push it where there is an origin; what another made first stands.

    Raises:
        MeritError: the tag can't be made or pushed, or says something else than a release.
    """
    name = tag_of(version)
    body = yaml.safe_dump(release.model_dump(), sort_keys=False, allow_unicode=True)
    is_ours = git.tag(name, f"{version.name}: image\n\n{body}", version.commit)
    if not git.push_tag(name) and is_ours:
        git.drop_tag(name)
        git.fetch_tags()
    return find(version) or release
