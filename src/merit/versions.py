"""Versions of models: annotated Git tags in GTO's form. To be replaced by the registry's own."""

import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from merit import artifacts, git, scoring
from merit.errors import MeritError

NAME = re.compile(r"^(?P<model>[a-z][a-z0-9_-]*)@v(?P<number>[1-9][0-9]*)$")
FIELDS = "%(objectname)%00%(*objectname)%00%(taggername)%00%(taggerdate:iso-strict)%00%(contents)"


class Lineage(BaseModel):
    """Where a version comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    commit: str
    package: str
    dvc: str
    params: str
    data: str
    data_fingerprint: str
    verdict: str
    checks: int
    waived: list[str]
    metrics: dict[str, float]
    run: str | None
    signature: str | None


@dataclass(frozen=True)
class Version:
    """A version of a model."""

    model: str
    number: int
    commit: str
    lineage: Lineage
    tagger: str
    tagged_at: datetime

    @property
    def name(self) -> str:
        """Its name, such as flights@v3."""
        return f"{self.model}@v{self.number}"


def versions(model: str) -> list[Version]:
    """Return the versions of a model, ascending, from local tags."""
    names = (git.git("tag", "--list", f"{model}@v*") or "").split()
    return sorted((_read(name) for name in names if NAME.match(name)), key=lambda each: each.number)


def find(name: str) -> Version:
    """Return a version by its name.

    Raises:
        MeritError: there is none of that name.
    """
    told = NAME.match(name)
    if told and git.git("tag", "--list", name):
        return _read(name)
    known = ", ".join(each.name for each in versions(told["model"])) if told else ""
    raise MeritError(f"'{name}': no such version; there are: {known or 'none'}")


def _read(name: str) -> Version:
    _, commit, tagger, at, text = (git.git("for-each-ref", f"--format={FIELDS}", f"refs/tags/{name}") or "").split("\0")
    try:
        lineage = Lineage.model_validate(yaml.safe_load(text.partition("\n\n")[2]))
    except (yaml.YAMLError, ValidationError) as error:
        raise MeritError(f"the tag {name}: its message is not a lineage ({' '.join(str(error).split())})") from error
    told = NAME.match(name)
    assert told
    return Version(told["model"], int(told["number"]), commit, lineage, tagger, datetime.fromisoformat(at))


def fetch_package(version: Version, folder: Path) -> None:
    """Bring the package of a version to a folder, out of DVC's cache or remote.

    Raises:
        MeritError: neither has it, or it is another.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    with tempfile.TemporaryDirectory() as room:
        place = Path(room) / artifacts.PACKAGE.name
        try:
            DVCFileSystem(".", rev=version.commit).get(artifacts.PACKAGE.as_posix(), str(place), recursive=True)
        except (DvcException, DataIndexDirError, OSError) as error:
            raise MeritError(
                f"{version.name}: its package is nowhere ({' '.join(str(error).split())[:160]})"
            ) from error
        scoring.verified(place)
        if artifacts.package_digest(place) != version.lineage.package:
            raise MeritError(f"{version.name}: another package than its tag names")
        folder.parent.mkdir(parents=True, exist_ok=True)
        place.rename(folder)
