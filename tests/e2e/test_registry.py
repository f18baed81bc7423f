"""Versions for real: processes that race, MLflow's server over SQLite and PostgreSQL, DVC's remote, a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.support import postgres
from tests.support.endpoint import free_port
from tests.support.versioned import Repository, report

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.dvc import cache
from merit.registry.register import register
from merit.registry.tags import Version

# SQLAlchemy 2.1 deprecates a loader that mlflow 3.17 still uses.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

RACE = """
import sys, time
from pathlib import Path
from merit.config import lock
from merit.registry.register import register
from tests.support.versioned import report
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
version, made = register(lock.read_lock(), lambda against: report())
print(version.name, made, version.tagger)
"""
ROOT = Path(__file__).resolve().parents[2]


def _merit(*args: str, uri: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("merit"))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    return subprocess.run([program, *args], capture_output=True, text=True, env=environment, check=False, timeout=300)


@pytest.fixture
def repository(workdir: Path, lock: Lock) -> Repository:
    """A repository with the lock of the tiny data."""
    return Repository.made(workdir / "here", locks.render_lock(lock))


@pytest.fixture
def released(repository: Repository, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """Three versions whose packages only DVC's remote has; the second is in production."""
    monkeypatch.chdir(repository.folder)
    remote = repository.folder.parent / "remote"
    (repository.folder / ".dvc/config").write_text(f"[core]\nremote = store\n['remote \"store\"']\nurl = {remote}\n")
    made = []
    for number in (1, 2, 3):
        repository.package(number)
        repository.commit(f"package {number}")
        made.append(register(lock, lambda against: report())[0])
    repository.declare("production", "v2", "production")
    store = repository.folder / cache.DEFAULT_CACHE
    shutil.copytree(store, remote / "files/md5")
    shutil.rmtree(store)
    shutil.rmtree(repository.folder / artifacts.PACKAGE)
    return made


@contextmanager
def _mlflow(store: str, folder: Path) -> Iterator[str]:
    """Give the address of an MLflow server on loopback."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1", "--backend-store-uri", store, "--artifacts-destination", "files"]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server doesn't answer: {log.read_text()[-2000:]}")


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty MLflow server, over one database and the other."""
    folder = tmp_path_factory.mktemp("mlflow")
    if request.param == "sqlite":
        with _mlflow(f"sqlite:///{folder}/mlflow.db", folder) as url:
            yield url
    else:
        with postgres.server() as database, _mlflow(database, folder) as url:
            yield url


def test_an_emptied_server_is_filled_from_git_and_dvcs_remote(server: str, released: list[Version]) -> None:
    assert _merit("registry", "check", uri=server).returncode == 1
    done = _merit("registry", "rebuild", uri=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"tiny@v{number}: made as MLflow's version {number}" for number in (1, 2, 3)),
        "production: points to tiny@v2",
        "done: 4 changes",
    ]
    client = MlflowClient(tracking_uri=server)
    for version in released:
        (found,) = client.search_model_versions(f"name = 'tiny' and tags.`merit.version` = '{version.name}'")
        assert found.tags["merit.package"] == version.lineage.package
        place = Path(client.download_artifacts(found.run_id, "model/package", str(Path.cwd().parent)))
        assert artifacts.hash_package(place) == version.lineage.package
        shutil.rmtree(place)
    checked = _merit("registry", "check", uri=server)
    assert (checked.returncode, checked.stdout) == (0, "MLflow shows what Git says\n")
    client.set_registered_model_alias("tiny", "production", "3")
    client.delete_model_version("tiny", "1")
    checked = _merit("registry", "check", uri=server)
    assert checked.returncode == 1
    assert "alias production: found MLflow's version 3 (tiny@v3); Git says tiny@v2\n" in checked.stdout
    assert "tiny@v1: found nothing; Git says a version with the package sha256:" in checked.stdout
    again = _merit("registry", "rebuild", uri=server)
    assert again.stdout.splitlines()[-1] == "done: 2 changes"
    assert _merit("registry", "rebuild", uri=server).stdout == "done: 0 changes\n"
    assert _merit("registry", "check", uri=server).returncode == 0


def test_a_rebuild_that_is_killed_is_finished_by_the_next(released: list[Version], workdir: Path) -> None:
    uri = f"sqlite:///{workdir}/mlflow.db"
    program = str(Path(sys.executable).with_name("merit"))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [program, "registry", "rebuild"], stdout=subprocess.PIPE, text=True, env=environment
    ) as begun:
        assert begun.stdout is not None
        assert begun.stdout.readline() == "tiny@v1: made as MLflow's version 1\n"
        begun.kill()
    done = _merit("registry", "rebuild", uri=uri)
    assert done.returncode == 0, done.stderr
    assert _merit("registry", "check", uri=uri).returncode == 0
    client = MlflowClient(tracking_uri=uri)
    assert len(client.search_model_versions("name = 'tiny'")) == 3
    (experiment,) = [each for each in client.search_experiments() if each.name == "tiny"]
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_a_server_that_is_down_is_one_line(released: list[Version]) -> None:
    done = _merit("registry", "check", uri=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: tracking.uri 'http://127.0.0.1:")
    assert "Traceback" not in done.stderr


def _race(folders: list[Path], room: Path) -> list[str]:
    """Register in each folder at the same moment, by a process each; return what each printed."""
    gun = room / "gun"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    started = []
    for number, folder in enumerate(folders):
        command = [sys.executable, "-c", RACE, str(room / f"ready{number}"), str(gun)]
        started.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    for _ in range(6000):
        if all((room / f"ready{number}").exists() for number in range(len(folders))):
            break
        assert all(process.poll() is None for process in started), [p.communicate() for p in started if p.poll()]
        time.sleep(0.01)
    gun.touch()
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * len(folders), said
    return [out.strip() for out, _ in said]


def test_processes_that_register_at_once_in_one_clone_make_one_version(repository: Repository, workdir: Path) -> None:
    repository.package(1)
    repository.commit("package")
    said = _race([repository.folder] * 4, workdir)
    assert sorted(said) == ["tiny@v1 False Ada"] * 3 + ["tiny@v1 True Ada"]
    assert repository.git("tag") == "tiny@v1"


def test_clones_that_register_at_once_make_one_version(repository: Repository, workdir: Path) -> None:
    repository.package(1)
    repository.commit("package")
    origin = workdir / "origin.git"
    repository.git("clone", "--quiet", "--bare", ".", str(origin))
    clones = []
    for name in ("Bob", "Eve", "Joe"):
        place = workdir / name
        repository.git("clone", "--quiet", str(origin), str(place))
        shutil.copytree(repository.folder / "model", place / "model")
        clone = Repository(place)
        clone.git("config", "user.name", name)
        clone.git("config", "user.email", f"{name}@example.org")
        clones.append(clone)
    said = _race([clone.folder for clone in clones], workdir)
    (winner,) = {line.split()[2] for line in said}
    assert sorted(said) == [f"tiny@v1 False {winner}"] * 2 + [f"tiny@v1 True {winner}"]
    objects = {clone.git("rev-parse", "refs/tags/tiny@v1") for clone in [*clones, Repository(origin)]}
    assert len(objects) == 1
