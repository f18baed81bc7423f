"""A repository with versions of a model as tags, two environments, and a target that only remembers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from merit.deploy import mlflow_alias
from merit.deploy.mlflow_alias import Alias
from merit.deploy.targets import registry
from merit.deploy.targets.interface import ActualState, DesiredState
from merit.errors import Refused
from tests.conftest import ignore_own_settings, run_git
from tests.support import lineage

DIGEST = "sha256:" + "1" * 64
IMAGE = f"127.0.0.1:5000/tiny@{DIGEST}"


DVC = "a" * 32 + ".dir"


class Repository:
    """Git, environments and versions, without packages."""

    def __init__(self, git: Callable[..., str]) -> None:
        self.git = git

    def commit(self, message: str = "a change") -> str:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def declare(self, name: str, text: str, *, commit: bool = True) -> Path:
        """Write an environment's file; production's port is its own."""
        if name == "production" and text.startswith("version: v") and "local:" not in text:
            text += "local: {port: 3200}\n"
        path = Path("conf/environment") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if commit:
            self.commit(f"{name} changes")
        return path

    def version(self, number: int, **other: object) -> None:
        """Tag a version."""
        known = {"commit": self.git("rev-parse", "HEAD"), "package": "sha256:" + f"{number}" * 64, "dvc": DVC}
        metrics = {"roc_auc": 0.6 + number / 100}
        message = lineage.message(f"tiny@v{number}", **(known | {"metrics": metrics} | other))
        self.git("tag", "--annotate", "--message", message, f"tiny@v{number}")

    def release(self, number: int, image: str = IMAGE) -> None:
        """Tag the image of a version."""
        told = {"image": image, "sbom": DIGEST, "bytes": 1, "bento": "tiny:v1", "engine": "buildah"}
        message = f"tiny@v{number}: image\n\n{yaml.safe_dump(told)}"
        self.git("tag", "--annotate", "--message", message, f"release/tiny@v{number}", f"tiny@v{number}^{{commit}}")


def _fill(made: Repository) -> None:
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "t")
    made.git("config", "user.email", "t@example.org")
    Path(".gitignore").write_text(".merit/\n", encoding="utf-8")
    Path("params.yaml").write_text("name: tiny\n", encoding="utf-8")
    locked = {"stages": {"package": {"outs": [{"path": "model", "md5": DVC}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(locked), encoding="utf-8")
    for name in ("staging", "production"):
        made.declare(name, "version: null\n")
    for number in (1, 2, 3):
        made.version(number)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a repository on main with the versions 1 to 3 and two environments, to be copied."""
    folder = tmp_path_factory.mktemp("deploy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ignore_own_settings(patch)
        _fill(Repository(run_git))
    return folder


@pytest.fixture
def repository(template: Path, workdir: Path) -> Repository:
    """A repository on main with the versions 1 to 3 and two environments that serve nothing."""
    shutil.copytree(template, workdir, dirs_exist_ok=True)
    return Repository(run_git)


class Remembered:
    """A target that runs what it was last told to, or refuses to."""

    runs: ClassVar[dict[str, dict]] = {}
    refuses = False

    def __init__(self, desired: DesiredState) -> None:
        self._name, self._told = desired.name, desired.environment

    def describe_desired(self) -> dict:
        """Return the version and how many of it."""
        return {} if self._told.version is None else {"version": self._told.version, "replicas": self._told.replicas}

    def read_actual(self) -> ActualState:
        """Return what it was told."""
        return ActualState(self.runs.get(self._name, {}), healthy=True)

    def check_inputs(self) -> None:
        """Nothing is needed."""

    def apply(self) -> list[str]:
        """Remember."""
        if self.refuses:
            raise Refused("it does not come up")
        if self.runs.get(self._name, {}) == self.describe_desired():
            return []
        self.runs[self._name] = self.describe_desired()
        return [f"runs {self._told.version}"]


@pytest.fixture
def target(monkeypatch):
    """The target of every environment: one that only remembers."""
    monkeypatch.setattr(registry, "create_target", Remembered)
    monkeypatch.setattr(Remembered, "runs", {})
    monkeypatch.setattr(Remembered, "refuses", False)
    return Remembered


@pytest.fixture
def mlflow(monkeypatch):
    """The aliases that MLflow has, which knows every version."""
    has: dict[str, str] = {}

    def write(lock, name, wanted, found):
        has.pop(name, None)
        if wanted is not None:
            has[name] = wanted

    monkeypatch.setattr(mlflow_alias, "read_alias", lambda lock, name, wanted: Alias(has.get(name), None, "1"))
    monkeypatch.setattr(mlflow_alias, "write_alias", write)
    return has
