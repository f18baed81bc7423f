"""A small project on real flights for the tests of the pipeline and of the endpoint: January, one short training."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import forks

ROOT = Path(__file__).resolve().parents[2]
COPIED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "bentofile.yaml", "conf", "dvc.yaml",
          "pyproject.toml", "requirements-serving.lock", "requirements.lock", "src")  # fmt: skip
JANUARY = """
  window: {start: 2013-01-01, end: 2013-01-31}
  split: {by: time, train_until: 2013-01-20, validation_until: 2013-01-25, test_until: 2013-01-31}
  contract: {rows: {min: 20000, max: 40000}}
"""
SMALL = f"""# @package _global_
data:{JANUARY}
trainer: {{max_epochs: 2, batch_size: 1024}}
evaluate:
  {{resamples: 100, slice_resamples: 100, blocks: {{by: row}}, seeds: 1, slices: [origin], baseline: {{max_iter: 10}}}}
gate:
  floors: {{roc_auc: 0.5, log_loss: 1.0}}
  baseline: {{margin: 0.2}}
  champion: [{{metric: roc_auc, margin: 0.05}}]
  calibration: 0.5
  resamples: 200
  slices: {{margin: 0.5}}
  unnamed_slices: {{margin: 0.5}}
  replay: null
"""


@dataclass(frozen=True)
class Project:
    """A folder with a project in it, and how to run commands there."""

    folder: Path

    def merit(self, *args: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run a merit command; `before` is shell that goes before it, such as a limit."""
        command = " ".join(["merit", *args])
        return self.run("bash", "-c", f"{before}\nexec {command}", is_itself=bool(before))

    def run(self, *args: str, is_itself: bool = False) -> subprocess.CompletedProcess[str]:
        """Run any command; `merit` and `dvc` are forks unless they are to be the programs themselves."""
        environment = self.environment()
        if not is_itself:
            environment["PATH"] = forks.path() + environment["PATH"]
        return subprocess.run(
            args, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def environment(self) -> dict[str, str]:
        """Return an environment that holds nothing of the one the tests run in but where programs are, no forks."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = str(self.folder / ".home")
        who = {f"GIT_{role}_{what}": f"test{'@example.org' * (what == 'EMAIL')}"
               for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip
        # Set where the source to be tested is not the installed one, as in a second worktree.
        source = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
        return {**source, "PATH": programs, "HOME": home, "BENTOML_HOME": f"{home}/bentoml", "LANG": "C.UTF-8", **who}

    def commit(self, message: str, *paths: str) -> str:
        """Commit all that Git tracks, and these paths; return the commit."""
        self.run("git", "add", *paths)
        assert self.run("git", "commit", "--quiet", "--all", "--message", message).returncode == 0
        return self.run("git", "rev-parse", "HEAD").stdout.strip()

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self.folder / path).read_text(encoding="utf-8")


def made_small(config: str) -> str:
    """Return config.yaml with the group that makes a project small; two epochs teach too little of storms to ask."""
    return config.replace("  - serve: default\n", "  - serve: default\n  - size: small\n").replace(
        "gate: flights", "gate: default"
    )


def make(folder: Path, conf: str = SMALL) -> Project:
    """Make a project in a folder, with these settings beside those of this repository."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    (folder / "reference").symlink_to(ROOT / "reference")  # it may be imported from there already
    (folder / ".home").mkdir()
    (folder / "conf" / "size").mkdir()
    (folder / "conf" / "size" / "small.yaml").write_text(conf, encoding="utf-8")
    config = folder / "conf" / "config.yaml"
    config.write_text(made_small(config.read_text(encoding="utf-8")), encoding="utf-8")
    with (folder / ".gitignore").open("a", encoding="utf-8") as handle:
        handle.write("/.home/\n")
    project = Project(folder)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.commit("start", ".")
    return project


LONG = (
    "tests/e2e/test_rehearsal.py",
    "tests/e2e/test_rehearsal_of_merges.py",
    "tests/e2e/test_pages.py",
    "tests/e2e/test_environments.py",
    "tests/e2e/test_release.py",
    "tests/config/test_attacks.py",
    "tests/unit/data/infer/test_infer.py",
    "tests/unit/sweep/search/test_study.py",
    "tests/unit/gate/report/test_render.py",
    "tests/unit/gate/report/test_truncation.py",
    "tests/unit/gate/checks/model/test_replay.py",
    "tests/unit/training/test_train.py",
    "tests/unit/registry/test_rebuild.py",
    "tests/unit/registry/test_register.py",
    "tests/unit/tracking/test_mlflow.py",
    "tests/unit/gate/test_judge.py",
    "tests/unit/packaging/test_graph.py",
)
"""The files that take longest: they begin first, so that none of them is what all the rest is done waiting for."""


def pytest_configure(config: pytest.Config) -> None:
    """Have one process that forks for all workers."""
    gone = [name for name in LONG if not (ROOT / name).is_file()]
    assert not gone, f"LONG in tests/support/small_project.py names files that are gone: {gone}"
    if not hasattr(config, "workerinput"):
        config.add_cleanup(forks.begin())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among what is imported: nearly all of it stays, a million objects in each worker."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT).as_posix()
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return a folder that one worker of the session fills while the others wait; none may change it.

    Args:
        factory: where folders come from.
        name: what the folder is called, one for each thing that is shared.
        fill: makes the folder and what is in it.
    """
    base = factory.getbasetemp()
    room = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    room.mkdir(exist_ok=True)
    with (room / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (room / "done").exists():
            shutil.rmtree(room / "made", ignore_errors=True)
            fill(room / "made")
            (room / "done").touch()
    return room / "made"


def _run(folder: Path) -> None:
    done = make(folder).run("merit", "run", is_itself=True)  # all that it loads it loads itself, once in each session
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after its first `merit run`, with no champion yet. Don't change it: use `project`."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(once(tmp_path_factory, "finished", _run), folder, symlinks=True)  # servers and builds write in it
    return Project(folder)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to be changed at will."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project before its first run."""
    return make(tmp_path / "fresh")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds, at most a minute."""
    import time

    def wait(holds: Callable[[], bool]) -> None:
        for _ in range(600):
            if holds():
                return
            time.sleep(0.1)
        pytest.fail("waited a minute in vain")

    return wait
