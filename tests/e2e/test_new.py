"""`merit new` and all that a project with merit as a library must do, with merit laid out as its wheel lays it out."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.small_project import ROOT, Project

from merit.project.files import SHIPPED_PATHS


@dataclass(frozen=True)
class User(Project):
    """A project of a user who has merit installed, in a copy that a test may change."""

    installed: Path

    def environment(self) -> dict[str, str]:
        away = {"HOME": str(self.installed.parents[1]), "PYTHONPATH": str(self.installed.parent)}
        return {**super().environment(), **away}

    def make(self, *args: str) -> str:
        """Run make; return what it printed."""
        done = self.run("make", *args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    folder = tmp_path_factory.mktemp("user")
    installed = folder / "lib" / "merit"
    shutil.copytree(ROOT / "src/merit", installed, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SHIPPED_PATHS:
        _copy(ROOT / name, installed / "project/files" / name)
    above = User(folder, installed)
    made = above.merit("new", "shop", "--name", "shop-2")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "next:    cd shop && make demo\n" in made.stdout
    project = User(folder / "shop", installed)
    _lend_environment(project.folder)
    return project


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def _lend_environment(folder: Path) -> None:
    """Give the project the environment that the tests run in, for making its own takes minutes."""
    (folder / ".venv").mkdir()
    for path in Path(sys.executable).parents[1].iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    for name in (".installed", ".installed-check"):
        (folder / ".venv" / name).unlink(missing_ok=True)
        (folder / ".venv" / name).touch()


@pytest.fixture(scope="module")
def shown(user: User) -> str:
    """What the first `make demo` in the project prints."""
    return user.make("demo")


def test_make_demo_does_the_whole_path(user: User, shown: str) -> None:
    assert "verdict: pass: may merge: " in shown
    assert (user.folder / "model/model.onnx").is_file()


def test_make_test_passes(user: User, shown: str) -> None:
    assert " passed" in user.make("test")


def test_nothing_but_the_lock_of_outputs_differs_from_the_first_commit(user: User, shown: str) -> None:
    changed = user.run("git", "status", "--porcelain").stdout.splitlines()
    assert changed == ["?? dvc.lock"]


def test_a_second_demo_has_nothing_to_do(user: User, shown: str) -> None:
    assert "Running stage" not in user.make("demo")


def test_the_checks_before_a_commit_pass(user: User, shown: str) -> None:
    user.run("git", "add", "conf", "params.yaml", "dvc.lock")
    user.make("check")


def test_changed_code_of_the_installed_merit_runs_just_the_stages_that_it_makes(user: User, shown: str) -> None:
    with (user.installed / "evaluation/evaluate.py").open("a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    assert user.merit("compose", "--check").returncode == 1
    again = user.make("demo")
    ran = [line for line in again.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'evaluate':"]


def test_there_is_nothing_to_upgrade_until_merit_changes_what_it_gives(user: User, shown: str) -> None:
    assert user.merit("upgrade").stdout == "up to date: nothing to upgrade\n"
    with (user.installed / "project/files/.ci/run").open("a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    assert user.merit("upgrade", "--check").returncode == 1
    done = user.merit("upgrade", "--yes")
    assert done.stdout.endswith(".ci/run written\n.merit-project.json written\nnext:    'merit run'\n")
    assert os.access(user.folder / ".ci/run", os.X_OK)
