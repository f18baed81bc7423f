"""A forge with a small repository, and what runs workflows for it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rehearse.bare import git
from rehearse.forge import Forge
from rehearse.runner import Runner
from rehearse.runs import Run, Trigger
from rehearse.workflow import Workflow

HEAD = "name: w\non: {workflow_dispatch: {inputs: {}}}\npermissions: {}\n"


REPOSITORY = "house/model"


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a forge and a clone with two commits on main, to be copied."""
    folder = tmp_path_factory.mktemp("pushed")
    made = Forge(folder / "forge", REPOSITORY)
    clone = folder / "clone"
    clone.mkdir()
    git(clone, "init", "--quiet", "--initial-branch", "main")
    for text in ("one", "two"):
        (clone / "file.txt").write_text(text, encoding="utf-8")
        git(clone, "add", "file.txt")
        git(clone, "commit", "--quiet", "--message", text)
    git(clone, "push", "--quiet", str(made.place()), "main", REHEARSE_MAY_PUSH="yes")
    made.close()
    return folder


@pytest.fixture
def forge(pushed: Path, tmp_path: Path) -> Iterator[Forge]:
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True)
    made = Forge(tmp_path / "forge", REPOSITORY)
    yield made
    made.close()


Rehearse = Callable[..., Run]


@pytest.fixture
def runner(forge: Forge, tmp_path: Path) -> Runner:
    return Runner(forge, tmp_path, {"KEY": "s3cret"})


@pytest.fixture
def rehearse(forge: Forge, runner: Runner) -> Rehearse:
    """Run the jobs that a text holds."""

    def run(jobs: str, *, is_fork: bool = False, inputs: dict[str, str] | None = None) -> Run:
        sha = git(forge.place(), "rev-parse", "main")
        trigger = Trigger("workflow_dispatch", {"inputs": inputs or {}}, sha, "refs/heads/main", "writer", is_fork)
        return runner.run(Workflow.read("w.yml", HEAD + jobs), trigger)

    return run
