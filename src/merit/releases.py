"""The images of versions, as `merit release` has recorded them. To be replaced by the release room's own."""

from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from merit import git
from merit.errors import MeritError
from merit.versions import Version


class Release(BaseModel):
    """The image of a version."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: Annotated[str, Field(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")]
    sbom: str
    bytes: int
    bento: str
    engine: str


def find(version: Version) -> Release | None:
    """Return the image of a version, or None if it has none."""
    name = f"release/{version.name}"
    if not git.git("tag", "--list", name):
        return None
    text = git.git("for-each-ref", "--format=%(contents)", f"refs/tags/{name}") or ""
    try:
        return Release.model_validate(yaml.safe_load(text.partition("\n\n")[2]))
    except (yaml.YAMLError, ValidationError) as error:
        raise MeritError(f"the tag {name}: its message is no release ({' '.join(str(error).split())})") from error
