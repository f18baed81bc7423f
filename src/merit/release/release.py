"""`merit release`: builds a version's image once, pushes it, and records its digest in Git."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from merit import artifacts, git
from merit.config.schema.release import Release as ReleaseSettings
from merit.errors import MeritError
from merit.registry import release_tags, tags
from merit.registry.tags import Version
from merit.release import build_context, engine, images, sbom
from merit.release import readiness as ready
from merit.release.images import Image

SBOM_FOLDER = Path(".merit/releases")
IDENTITY_LABELS = ("merit.version", "merit.commit", "merit.package")
"""Labels that must match for an image in the registry to be accepted as the image of a version."""


@dataclass(frozen=True)
class ReleaseResult:
    """The result of a release.

    Attributes:
        version: the released version.
        release: the recorded release.
        is_new: whether it was recorded by this call.
        build_seconds: duration of building and pushing; None if the image existed.
        ready: seconds from start to ready, or the reason why that is not known; None if the image existed.
        sbom: the file and its number of components; None if the release existed.
    """

    version: Version
    release: release_tags.Release
    is_new: bool
    build_seconds: float | None = None
    ready: float | str | None = None
    sbom: tuple[Path, int] | None = None


def release(name: str, settings: ReleaseSettings) -> ReleaseResult:
    """Build and push the image of a version, unless it exists, and record it in Git.

    Idempotent: the next call completes an interrupted release, and never rebuilds an image that is in the registry.

    Args:
        name: the version, such as flights@v3.
        settings: the section `release` of the lock.

    Raises:
        MeritError: there is no such version, engine or registry, or the registry has a different image of that name.
        Refused: the image does not get ready.
    """
    version = tags.find_version(name)
    if (recorded := release_tags.find_release(version)) is None:
        git.fetch_tags()
        recorded = release_tags.find_release(version)
    if recorded is not None:
        return _check_recorded(version, recorded)
    repository = f"{images.resolve_registry(settings.registry)}/{version.model}"
    image_name = f"{repository}:{version.short_name}"
    container_engine = engine.find_engine(settings.engine)
    started_at = time.monotonic()
    ready_seconds: float | str | None = None
    if (image := images.find_image(image_name)) is None:
        ready_seconds = _build_and_push(container_engine, image_name, settings, version)
        if (image := images.find_image(image_name)) is None:
            raise MeritError(f"{image_name}: was pushed, but the registry has none of that name; try again")
        build_seconds: float | None = time.monotonic() - started_at
    else:
        build_seconds = None
    _check_labels(image_name, image, version)
    attached = _attach_sbom(container_engine, repository, image, version, settings.base_image)
    new_release = release_tags.Release(
        image=f"{repository}@{image.digest}",
        sbom=f"sha256:{artifacts.hash_file(attached[0])}",
        bytes=image.size_bytes,
        bento=f"{version.model}:{version.short_name}",
        engine=container_engine.name,
    )
    return ReleaseResult(
        version, release_tags.record_release(version, new_release), True, build_seconds, ready_seconds, attached
    )


def _check_recorded(version: Version, recorded: release_tags.Release) -> ReleaseResult:
    """Return a recorded release, after checking that the registry still has its image."""
    if images.find_image(recorded.image) is None:
        raise MeritError(
            f"{recorded.image}: recorded by the tag {release_tags.format_tag(version)}, but the registry has it no "
            "more; "
            "push it again from where it is, or delete that tag here and at origin and release again"
        )
    return ReleaseResult(version, recorded, is_new=False)


def _build_and_push(
    container_engine: engine.Engine, image_name: str, settings: ReleaseSettings, version: Version
) -> float | str:
    """Build, test-start and push an image; return its seconds to ready, or the reason why that is not known."""
    with tempfile.TemporaryDirectory(prefix="merit-release-") as scratch:
        package = build_context.create_context(Path(scratch), version, settings.signing)
        container_engine.build(
            Path(scratch) / "context", image_name, settings.base_image, build_context.build_labels(version)
        )
        ready_seconds = ready.measure_start(container_engine, image_name, version, package)
    container_engine.push(image_name)
    return ready_seconds


def _check_labels(image_name: str, image: Image, version: Version) -> None:
    expected = build_context.build_labels(version)
    mismatches = [
        f"{name} is {image.labels.get(name, 'not there')}, not {expected[name]}"
        for name in IDENTITY_LABELS
        if image.labels.get(name) != expected[name]
    ]
    if mismatches:
        raise MeritError(
            f"{image_name}: the registry has another image of that name ({'; '.join(mismatches)}); remove it there, or "
            "choose "
            "another registry"
        )


def _attach_sbom(
    container_engine: engine.Engine, repository: str, image: Image, version: Version, base: str
) -> tuple[Path, int]:
    """Write an image's SBOM and attach it in the registry; return the file and its number of components."""
    text, count = sbom.create_sbom(container_engine, f"{repository}@{image.digest}", version, base)
    path = SBOM_FOLDER / f"{version.name}.cdx.json"
    artifacts.write_text(path, text)
    images.attach_sbom(repository, image, path, f"{version.short_name}.sbom")
    return path, count
