"""What release.yml does after a merge: the version that main names now is proposed, once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rehearse.bare import git
from rehearse.forge import Forge

from merit.ci import release
from tests.unit.deploy.conftest import DVC, IMAGE


def _names(repository, md5: str) -> str:
    """Commit a dvc.lock that names a package."""
    stages = {"stages": {"package": {"outs": [{"path": "model", "md5": md5}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(stages))
    return repository.commit(f"a package: {md5}")


@pytest.fixture
def forge(repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    """A forge whose main is this repository's, and which this process is a workflow of."""
    made = Forge(tmp_path / "forge", "house/tiny")
    _names(repository, DVC)  # that of the versions
    event = tmp_path / "event.json"
    event.write_text('{"repository": {"default_branch": "main"}}')
    token = made.grant({"contents": "write", "pull-requests": "write"})
    told = {"API_URL": made.url, "REPOSITORY": "house/tiny", "TOKEN": token, "EVENT_PATH": str(event)}
    for name, value in told.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    yield made
    made.close()


def _proposed(forge: Forge, repository, lock) -> str:
    tip = git(Path(), "rev-parse", "main")
    git(Path(), "push", "--quiet", str(forge.place()), "main", "--tags", REHEARSE_MAY_PUSH="yes")
    try:
        return release.propose_promotion("tiny@v3", "staging", lock, tip)
    finally:
        subprocess.run(["git", "checkout", "--quiet", "--", "conf"], check=True)


def test_a_version_is_proposed_once_with_its_image(forge, repository, lock):
    repository.release(3)
    assert _proposed(forge, repository, lock) == "#1: promote/staging-v3"
    (pull,) = forge.pulls
    told = git(forge.place(), "show", f"{pull.sha}:conf/environment/staging.yaml")
    assert yaml.safe_load(told) == {"version": "v3", "image": IMAGE}
    assert _proposed(forge, repository, lock) == "promote/staging-v3: is proposed already"
    assert forge.pulls == [pull]


def test_a_branch_whose_job_was_killed_before_it_asked_is_asked_for(forge, repository, lock):
    _proposed(forge, repository, lock)
    forge.pulls.clear()
    assert _proposed(forge, repository, lock) == "#1: promote/staging-v3"


def test_a_version_that_main_has_gone_beyond_is_not_proposed(forge, repository, lock):
    _names(repository, "b" * 32 + ".dir")
    assert _proposed(forge, repository, lock) == (
        "main names another package than that of tiny@v3 by now: nothing to propose"
    )
    assert forge.pulls == []


def test_what_staging_declares_already_is_not_proposed(forge, repository, lock):
    repository.declare("staging", "version: v3\n")
    assert _proposed(forge, repository, lock) == "staging declares tiny@v3 already"
    assert forge.pulls == []
