import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit import git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.registry.register import register
from merit.registry.tags import Version
from tests.support.versioned import Repository, report


@pytest.fixture
def repository(workdir: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository in the folder that the test runs in; nobody waits for a remote."""
    monkeypatch.setattr(git, "RETRY_WAITS_S", (0.0, 0.0))
    return Repository.made(workdir, locks.render_lock(lock))


@pytest.fixture
def origin(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository that is the origin of `repository`."""
    place = tmp_path_factory.mktemp("origin") / "origin.git"
    repository.git("init", "--quiet", "--bare", "--initial-branch=main", str(place))
    repository.git("remote", "add", "origin", str(place))
    repository.git("push", "--quiet", "origin", "main")
    return place


@pytest.fixture
def signing_lock(repository: Repository, lock: Lock, keys: Path) -> Lock:
    """The lock of a project that signs by our key."""
    shutil.copy(keys / "ours.pub", "ours.pub")
    values = lock.model_dump(mode="json", by_alias=True)
    values["release"] = {"signing": {"method": "key", "public_key": "ours.pub"}}
    return Lock.model_validate(values)


@pytest.fixture
def release(repository: Repository, lock: Lock) -> Callable[..., Version]:
    """Commit a package of the number on main and register it."""

    def make(number: int, **told: Any) -> Version:
        repository.package(number)
        repository.commit(f"package {number}")
        return register(lock, lambda against: report(**told))[0]

    return make
