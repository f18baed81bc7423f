"""What is recorded of a version's image, and what is no record of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit.errors import MeritError
from merit.registry import release_tags
from merit.registry.release_tags import Release
from merit.registry.tags import Version
from tests.support.versioned import Repository

DIGEST = "sha256:" + "1" * 64
RELEASE = Release(image=f"r.example/tiny@{DIGEST}", sbom="sha256:" + "2" * 64, bytes=5, bento="tiny:é", engine="podman")
TAG = "release/tiny@v1"


@pytest.fixture
def version(release: Callable[..., Version]) -> Version:
    """A version that no image was built of."""
    return release(1)


def test_a_release_is_found_as_it_was_recorded_by_a_tag_on_its_version(
    repository: Repository, version: Version
) -> None:
    assert release_tags.find_release(version) is None
    assert release_tags.record_release(version, RELEASE) == RELEASE
    assert release_tags.find_release(version) == RELEASE
    assert RELEASE.digest == DIGEST
    assert repository.git("rev-parse", f"{TAG}^{{commit}}") == version.commit
    assert repository.git("for-each-ref", "--format=%(contents)", f"refs/tags/{TAG}") == (
        f"tiny@v1: image\n\nimage: r.example/tiny@{DIGEST}\nsbom: sha256:{'2' * 64}\nbytes: 5\nbento: tiny:é\n"
        "engine: podman"
    )


def test_a_release_that_another_process_recorded_at_origin_wins(
    repository: Repository, origin: Path, version: Version
) -> None:
    other = RELEASE.model_copy(update={"bytes": 6})
    assert release_tags.record_release(version, other) == other
    repository.git("tag", "--delete", TAG)
    assert release_tags.record_release(version, RELEASE) == other
    assert release_tags.find_release(version) == other


def test_a_record_on_another_commit_is_told(repository: Repository, version: Version) -> None:
    repository.git("tag", "--annotate", "--message", "x", TAG, f"{version.commit}~1")
    with pytest.raises(MeritError) as caught:
        release_tags.find_release(version)
    assert str(caught.value) == f"the tag {TAG}: is not on the commit of tiny@v1 ({version.commit[:7]}); delete it"


def test_a_record_of_another_form_is_told(repository: Repository, version: Version) -> None:
    for changed in (
        {"bytes": "5"},
        {"bytes": 0},
        {"image": "r.example/tiny:v1"},
        {"image": f"r.example/tiny@{DIGEST}0"},
        {"sbom": "1" * 64},
        {"more": 1},
    ):
        body = yaml.safe_dump(RELEASE.model_dump() | changed)
        repository.git("tag", "--force", "-a", TAG, "-m", f"tiny@v1: image\n\n{body}", version.commit)
        with pytest.raises(
            MeritError, match=rf"^the tag {TAG}: its message is not a release's \(.*; delete it and rel"
        ):
            release_tags.find_release(version)
