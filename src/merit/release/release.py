"""release: the image of a version, made once, in a registry by digest, and recorded in Git."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from merit import artifacts, git
from merit.config.schema.release import Release as How
from merit.errors import MeritError
from merit.registry import release_tags, tags
from merit.registry.tags import Version
from merit.release import context, engine, images, ready, sbom
from merit.release.images import Image

FOLDER = Path(".merit/releases")
LABELS = ("merit.version", "merit.commit", "merit.package")
"""What an image in the registry must say to be the image of a version."""


@dataclass(frozen=True)
class Released:
    """What was done.

    Attributes:
        version: of what.
        release: what is recorded.
        is_new: whether it was recorded just now.
        built_seconds: how long building and pushing took; None where the image was there.
        ready: seconds from start to ready, or why that is not known; None where the image was there.
        sbom: the file, where it was made just now, and how many components it names.
    """

    version: Version
    release: release_tags.Release
    is_new: bool
    built_seconds: float | None = None
    ready: float | str | None = None
    sbom: tuple[Path, int] | None = None


def release(name: str, how: How) -> Released:
    """Make the image of a version, unless it is there, and record it.

    What was killed on the way is finished by the next run: an image that is in the registry is not built again.

    Args:
        name: the version, such as flights@v3.
        how: the section `release` of the lock.

    Raises:
        MeritError: there is no such version, no engine, no registry, or the registry's image is another's.
        Refused: the image does not get ready.
    """
    version = tags.find(name)
    if (recorded := release_tags.find(version)) is None:
        git.fetch_tags()
        recorded = release_tags.find(version)
    if recorded is not None:
        return _standing(version, recorded)
    place = f"{images.registry_of(how.registry)}/{version.model}"
    tagged = f"{place}:{version.short_name}"
    chosen = engine.find(how.engine)
    began = time.monotonic()
    took: float | str | None = None
    if (image := images.look(tagged)) is None:
        took = _made(chosen, tagged, how, version)
        if (image := images.look(tagged)) is None:
            raise MeritError(f"{tagged}: was pushed, but the registry has none of that name; try again")
        spent: float | None = time.monotonic() - began
    else:
        spent = None
    _check_is_its_own(tagged, image, version)
    listed = _listed(chosen, place, image, version, how.base_image)
    made = release_tags.Release(
        image=f"{place}@{image.digest}",
        sbom=f"sha256:{artifacts.sha256(listed[0])}",
        bytes=image.bytes,
        bento=f"{version.model}:{version.short_name}",
        engine=chosen.name,
    )
    return Released(version, release_tags.record(version, made), True, spent, took, listed)


def _standing(version: Version, recorded: release_tags.Release) -> Released:
    """Return a release that is recorded, once its image is found in the registry."""
    if images.look(recorded.image) is None:
        raise MeritError(
            f"{recorded.image}: recorded by the tag {release_tags.tag_of(version)}, but the registry has it no more; "
            "push it again from where it is, or delete that tag here and at origin and release again"
        )
    return Released(version, recorded, is_new=False)


def _made(chosen: engine.Engine, tagged: str, how: How, version: Version) -> float | str:
    """Build, try and push an image; return how long it takes to get ready, or why that is not known."""
    with tempfile.TemporaryDirectory(prefix="merit-release-") as room:
        package = context.fill(Path(room), version, how.signing)
        chosen.build(Path(room) / "context", tagged, how.base_image, context.labels(version))
        took = ready.seconds(chosen, tagged, version, package)
    chosen.push(tagged)
    return took


def _check_is_its_own(tagged: str, image: Image, version: Version) -> None:
    expected = context.labels(version)
    wrong = [
        f"{name} is {image.labels.get(name, 'not there')}, not {expected[name]}"
        for name in LABELS
        if image.labels.get(name) != expected[name]
    ]
    if wrong:
        raise MeritError(
            f"{tagged}: the registry has another image of that name ({'; '.join(wrong)}); remove it there, or choose "
            "another registry"
        )


def _listed(chosen: engine.Engine, place: str, image: Image, version: Version, base: str) -> tuple[Path, int]:
    """Write the SBOM of an image and attach it there; return the file and how many components it names."""
    text, count = sbom.text(chosen, f"{place}@{image.digest}", version, base)
    path = FOLDER / f"{version.name}.cdx.json"
    artifacts.write_text(path, text)
    images.attach(place, image, path, f"{version.short_name}.sbom")
    return path, count
