"""`merit release`: builds a version's image once, pushes it, and records its digest in Git."""

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
"""Labels that must match for an image in the registry to be accepted as the image of a version."""


@dataclass(frozen=True)
class Released:
    """The result of a release.

    Attributes:
        version: the released version.
        release: the recorded release.
        is_new: whether it was recorded by this call.
        built_seconds: duration of building and pushing; None if the image existed.
        ready: seconds from start to ready, or the reason why that is not known; None if the image existed.
        sbom: the file and its number of components; None if the release existed.
    """

    version: Version
    release: release_tags.Release
    is_new: bool
    built_seconds: float | None = None
    ready: float | str | None = None
    sbom: tuple[Path, int] | None = None


def release(name: str, how: How) -> Released:
    """Build and push the image of a version, unless it exists, and record it in Git.

    Idempotent: the next call completes an interrupted release, and never rebuilds an image that is in the registry.

    Args:
        name: the version, such as flights@v3.
        how: the section `release` of the lock.

    Raises:
        MeritError: there is no such version, engine or registry, or the registry has a different image of that name.
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
    """Return a recorded release, after checking that the registry still has its image."""
    if images.look(recorded.image) is None:
        raise MeritError(
            f"{recorded.image}: recorded by the tag {release_tags.tag_of(version)}, but the registry has it no more; "
            "push it again from where it is, or delete that tag here and at origin and release again"
        )
    return Released(version, recorded, is_new=False)


def _made(chosen: engine.Engine, tagged: str, how: How, version: Version) -> float | str:
    """Build, test-start and push an image; return its seconds to ready, or the reason why that is not known."""
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
    """Write an image's SBOM and attach it in the registry; return the file and its number of components."""
    text, count = sbom.text(chosen, f"{place}@{image.digest}", version, base)
    path = FOLDER / f"{version.name}.cdx.json"
    artifacts.write_text(path, text)
    images.attach(place, image, path, f"{version.short_name}.sbom")
    return path, count
