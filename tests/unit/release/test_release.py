"""What release does around engine and registry, for which programs and answers of the tests' own stand in."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from merit import git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.config.schema.release import Release as How
from merit.errors import MeritError
from merit.registry import release_tags, tags
from merit.registry.tags import Lineage, Version
from merit.release import build_context, images, readiness, release, sbom
from merit.release.engine import Engine
from merit.release.images import Image

LINEAGE = {
    "package": f"sha256:{'a' * 64}",
    "dvc": "a" * 32 + ".dir",
    "params": "p" * 64,
    "data": "d" * 64,
    "data_fingerprint": "f",
    "verdict": "pass",
    "checks": 3,
    "waived": [],
    "metrics": {},
    "run": None,
    "signature": None,
}
HOW = How(registry="127.0.0.1:5000", engine="docker")
DIGEST = f"sha256:{'1' * 64}"


@pytest.fixture
def version(git_repo: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Version:
    """The version tiny@v1 of a repository with one commit."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    git_repo("commit", "--quiet", "--allow-empty", "--message", "start")
    commit = git_repo("rev-parse", "HEAD")
    lineage = Lineage.model_validate({"commit": commit, **LINEAGE})
    found = Version("tiny", 1, commit, lineage, "t", datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(tags, "find_version", lambda _: found)
    monkeypatch.delenv("MERIT_REGISTRY", raising=False)
    return found


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Image]:
    """What the registry has, by name."""
    found: dict[str, Image] = {}
    monkeypatch.setattr(images, "find_image", found.get)
    monkeypatch.setattr(images, "attach_sbom", lambda *_: None)
    monkeypatch.setattr(release.engine, "find_engine", Engine)
    monkeypatch.setattr(sbom, "create_sbom", lambda *_: ("{}\n", 3))
    return found


@pytest.fixture
def built(registry: dict[str, Image], version: Version, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was built and pushed."""
    done: list[str] = []

    def push(_: Engine, image: str) -> None:
        done.append(image)
        _put(registry, version)

    monkeypatch.setattr(Engine, "build", lambda *_: None)
    monkeypatch.setattr(Engine, "push", push)
    monkeypatch.setattr(build_context, "create_context", lambda *_: Path("package"))
    monkeypatch.setattr(readiness, "measure_start", lambda *_: 1.5)
    return done


def _put(registry: dict[str, Image], version: Version, **labels: str) -> None:
    image = Image(DIGEST, 1000, {**build_context.build_labels(version), **labels}, images.MANIFEST_TYPES[0], 100)
    registry["127.0.0.1:5000/tiny:v1"] = registry[f"127.0.0.1:5000/tiny@{DIGEST}"] = image


def test_a_release_is_pushed_and_recorded_on_the_versions_commit(version: Version, built: list[str]) -> None:
    done = release.release("tiny@v1", HOW)
    assert built == ["127.0.0.1:5000/tiny:v1"]
    assert done.is_new
    assert done.ready == 1.5
    found = release_tags.find_release(version)
    assert found == done.release
    assert (found.image, found.bytes) == (f"127.0.0.1:5000/tiny@{DIGEST}", 1000)
    assert git.resolve_commit("release/tiny@v1") == version.commit
    assert (git.run_git("for-each-ref", "--format=%(contents:subject)", "refs/tags/release") or "") == "tiny@v1: image"


def test_a_version_may_be_called_by_its_number_and_another_models_is_none(
    call: Any, built: list[str], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "read_lock", lambda: lock.model_copy(update={"release": HOW}))
    code, out, _ = call("release", "v1")
    assert (code, out.partition(":")[0]) == (0, "tiny@v1")
    assert "was released before" in call("release", "tiny@v1")[1]
    code, _, said = call("release", "other@v1")
    assert (code, said) == (2, "error: 'other@v1' is no version of tiny, which is this repository's model\n")


def test_a_second_release_does_nothing(version: Version, built: list[str]) -> None:
    release.release("tiny@v1", HOW)
    again = release.release("tiny@v1", HOW)
    assert not again.is_new
    assert len(built) == 1


def test_an_image_that_was_pushed_by_a_job_that_died_is_taken_as_it_is(
    version: Version, registry: dict[str, Image], built: list[str]
) -> None:
    _put(registry, version)
    done = release.release("tiny@v1", HOW)
    assert built == []
    assert done.is_new
    assert release_tags.find_release(version) == done.release


def test_an_image_of_another_package_is_neither_taken_nor_overwritten(
    version: Version, registry: dict[str, Image], built: list[str]
) -> None:
    _put(registry, version, **{"merit.package": "sha256:other"})
    with pytest.raises(MeritError, match=r"merit\.package is sha256:other, not sha256:aaa"):
        release.release("tiny@v1", HOW)
    assert built == []
    assert release_tags.find_release(version) is None


def test_a_registry_that_has_lost_the_recorded_image_is_told(
    version: Version, registry: dict[str, Image], built: list[str]
) -> None:
    release.release("tiny@v1", HOW)
    registry.clear()
    with pytest.raises(MeritError, match="the registry has it no more"):
        release.release("tiny@v1", HOW)


def test_no_registry_is_one_line(version: Version, registry: dict[str, Image]) -> None:
    with pytest.raises(MeritError, match="nowhere to push; name one in conf/release"):
        release.release("tiny@v1", How())


def test_the_environment_names_the_registry_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_REGISTRY", "registry.example.org/team")
    assert images.resolve_registry("127.0.0.1:5000") == "registry.example.org/team"


def test_a_tag_with_another_message_is_told(version: Version) -> None:
    git.create_tag("release/tiny@v1", "tiny@v1: image\n\nimage: none\n", version.commit)
    with pytest.raises(MeritError, match=r"the tag release/tiny@v1: its message is not a release's"):
        release_tags.find_release(version)


def test_of_two_jobs_the_first_that_pushed_its_tag_counts(
    version: Version, git_repo: Callable[..., str], tmp_path: Path
) -> None:
    origin = str(tmp_path / "origin.git")
    subprocess.run(["git", "init", "--quiet", "--bare", origin], check=True)
    git_repo("remote", "add", "origin", origin)
    told = {"sbom": DIGEST, "bytes": 1, "bento": "tiny:v1", "engine": "docker"}
    first, second = (release_tags.Release(image=f"r/tiny@sha256:{digit * 64}", **told) for digit in "12")
    assert release_tags.record_release(version, first) == first
    git_repo("tag", "--delete", "release/tiny@v1")
    assert release_tags.record_release(version, second) == first
    assert release_tags.find_release(version) == first


def test_the_containerfile_runs_as_nobody_in_particular_and_is_checked() -> None:
    text = build_context.render_containerfile({"MERIT_VERSION": "v1"})
    assert "\nUSER 10001:10001\n" in text
    assert "/readyz" in next(line for line in text.splitlines() if line.startswith("HEALTHCHECK"))
    assert "\nENV MERIT_VERSION='v1'\n" in text
    assert "torch" not in text.replace("no torch", "")


def test_the_source_label_holds_no_password(git_repo: Callable[..., str], version: Version) -> None:
    git_repo("remote", "add", "origin", "https://user:secret@example.org/team/project.git")
    assert build_context.build_labels(version)["org.opencontainers.image.source"] == "https://example.org/team/project"


def test_an_sbom_names_all_parts_and_is_the_same_twice(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {
        "python": [{"name": "Some_Package", "version": "1.0", "license": "MIT OR Apache-2.0"}],
        "debian": [{"name": "libc6", "version": "2.36-9+deb12u10", "architecture": "amd64"}],
    }
    monkeypatch.setattr(Engine, "run_python", lambda *_: json.dumps(found))
    texts = {sbom.create_sbom(Engine("docker"), f"r/tiny@{DIGEST}", version, "python:3.11-slim") for _ in range(2)}
    ((text, count),) = texts
    assert count == 4
    names = {each["name"]: each for each in json.loads(text)["components"]}
    assert names["Some_Package"]["purl"] == "pkg:pypi/some-package@1.0"
    assert names["tiny"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]


def test_an_image_that_does_not_tell_what_is_in_it_is_told(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "run_python", lambda *_: "warning: no")
    with pytest.raises(MeritError, match="doesn't list its contents"):
        sbom.create_sbom(Engine("docker"), f"r/tiny@{DIGEST}", version, "base")


@pytest.mark.parametrize("name", ["Registry/Team", "http://127.0.0.1:5000", "a b", "127.0.0.1:5000/"])
def test_what_is_no_registry_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("MERIT_REGISTRY", name)
    with pytest.raises(MeritError, match="which is no registry"):
        images.resolve_registry(None)
