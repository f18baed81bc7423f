"""The repository with versions and environments that the tests of deploy/ have, and a forge with two branches."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rehearse.bare import git
from rehearse.forge import Forge

from tests.unit.deploy.conftest import repository, template

__all__ = ["repository", "template"]
REPOSITORY = "house/model"


def push(forge: Forge, clone: Path, *branches: str, repository: str = REPOSITORY) -> None:
    """Push an empty commit to each of these branches."""
    clone.mkdir(exist_ok=True)
    git(clone, "init", "--quiet", "--initial-branch", "main")
    for branch in branches:
        git(clone, "checkout", "--quiet", "-B", branch)
        git(clone, "commit", "--quiet", "--allow-empty", "--message", f"{branch} of {repository}")
        git(clone, "push", "--quiet", "--force", str(forge.place(repository)), branch, REHEARSE_MAY_PUSH="yes")


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a forge and a clone with the branches main and change, to be copied."""
    folder = tmp_path_factory.mktemp("pushed")
    forge = Forge(folder / "forge", REPOSITORY)
    push(forge, folder / "clone", "main", "change")
    forge.close()
    return folder


@pytest.fixture
def pull_forge(pushed: Path, tmp_path: Path) -> Iterator[Forge]:
    """A forge with a pull request from change into main; each request to it must be one that it knows."""
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True)
    forge = Forge(tmp_path / "forge", REPOSITORY)
    forge.open("change", title="Change", author="writer")
    yield forge
    forge.close()
    assert forge.unknown == []
