"""Stores for real: DVC on a server that speaks S3, Git LFS on a bare repository; what is missing is told in a line."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = "not-to-be-printed"  # noqa: S105  # moto takes any
STAGE = """stages:
  make:
    cmd: cp -r made model && mkdir -p data && cp made/model.onnx data/raw.parquet && echo ran >> ran.log
    deps: [made]
    outs: [model, data/raw.parquet]
"""


@dataclass(frozen=True)
class Folder:
    """A repository, and how to run programs in it."""

    path: Path

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program as somebody with an empty home would."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = self.path.parent / "home"
        who = {f"GIT_{role}_{what}": f"test{'@example.org' * (what == 'EMAIL')}"
               for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip
        settings = {"PATH": programs, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "src"),
                    "AWS_EC2_METADATA_DISABLED": "true", **who, **environment}  # fmt: skip
        return subprocess.run(
            args, cwd=self.path, env=settings, capture_output=True, text=True, check=False, timeout=120
        )

    def done(self, *args: str, **environment: str) -> str:
        """Run a program that must succeed; return what it prints."""
        ran = self.run(*args, **environment)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def doctor(self, **environment: str) -> tuple[int, dict[str, str]]:
        """Return the doctor's exit code, and a line for each name that it found something of."""
        ran = self.run("merit", "doctor", "--json", **environment)
        assert SECRET not in ran.stdout + ran.stderr
        told: dict[str, str] = {}
        for each in json.loads(ran.stdout)["findings"]:
            told[each["name"]] = f"{each['state']}: {each['found']}; {each['do']}"
        return ran.returncode, told


def _started(folder: Path) -> Folder:
    """Make a repository of merit's own settings and somebody's name."""
    folder.mkdir()
    (folder.parent / "home").mkdir(exist_ok=True)
    for name in ("conf", "reference"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "pyproject.toml", "requirements.lock", ".gitignore"):
        shutil.copyfile(ROOT / name, folder / name)
    made = Folder(folder)
    made.done("git", "init", "--quiet", "--initial-branch", "main")
    made.done("git", "config", "--global", "user.name", "test")
    made.done("git", "config", "--global", "user.email", "test@example.org")
    return made


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the bucket `models`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _until_it_answers(address)
        with urllib.request.urlopen(urllib.request.Request(f"{address}/models", method="PUT")) as answer:
            assert answer.status == 200
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _until_it_answers(address: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("moto's server did not come up within a minute")


@pytest.fixture
def stored(s3: str, tmp_path: Path, make_package: Callable[..., Path]) -> Folder:
    """A repository whose package and data DVC has made and whose remote is on S3; nothing is pushed yet."""
    made = _started(tmp_path / "first")
    make_package(made.path / "made")
    (made.path / "dvc.yaml").write_text(STAGE, encoding="utf-8")
    made.done("dvc", "init", "--quiet")
    made.done("dvc", "remote", "add", "--default", "storage", "s3://models/flights")
    made.done("dvc", "remote", "modify", "storage", "endpointurl", s3)
    _give_credentials(made)
    with (made.path / ".gitignore").open("a", encoding="utf-8") as handle:
        handle.write("ran.log\n")
    made.done("dvc", "repro", "--quiet")
    made.done("git", "add", "--all")
    made.done("git", "commit", "--quiet", "--message", "start")
    return made


def _give_credentials(folder: Folder) -> None:
    folder.done("dvc", "remote", "modify", "--local", "storage", "access_key_id", "me")
    folder.done("dvc", "remote", "modify", "--local", "storage", "secret_access_key", SECRET)


def _clone(folder: Folder, name: str, **environment: str) -> Folder:
    folder.done("git", "clone", "--quiet", str(folder.path), str(folder.path.parent / name), **environment)
    return Folder(folder.path.parent / name)


def test_what_s3_keeps_is_pulled_by_a_clone_that_computes_nothing(stored: Folder) -> None:
    before = stored.doctor()
    assert before[0] == 1
    assert before[1]["dvc remote"] == "ok: 'storage', s3://models/flights answers; "
    assert before[1]["dvc data"].startswith("missing: s3://models/flights lacks ")
    assert before[1]["dvc data"].endswith("; 'dvc push' sends them")
    stored.done("dvc", "push", "--quiet")
    assert stored.doctor()[1]["dvc data"] == "ok: the remote has all that dvc.lock names; "

    clone = _clone(stored, "second")
    _give_credentials(clone)
    assert "pulled:  data/raw.parquet, model (named by dvc.lock)\nup to date\n" in clone.done("merit", "repro")
    assert not (clone.path / "ran.log").exists()
    assert (clone.path / "model/manifest.json").read_bytes() == (stored.path / "model/manifest.json").read_bytes()
    assert (clone.path / "data/raw.parquet").is_file()


def test_a_package_is_brought_from_s3_by_the_commit_that_names_it(stored: Folder) -> None:
    stored.done("dvc", "push", "--quiet")
    clone = _clone(stored, "second")
    _give_credentials(clone)
    code = (
        "from pathlib import Path; from merit import artifacts\n"
        "from merit.gate.champion import Champion\n"
        "with Champion('HEAD', {}).fetch_package() as package: print(package.signature['outputs'])"
    )
    assert "prediction" in clone.done(sys.executable, "-c", code)


def test_a_server_that_is_down_is_one_clear_line(stored: Folder) -> None:
    stored.done("dvc", "remote", "modify", "storage", "endpointurl", "http://127.0.0.1:1")
    code, told = stored.doctor()
    assert code == 1
    assert told["dvc remote"].startswith("missing: s3://models/flights: http://127.0.0.1:1 does not answer (")
    shutil.rmtree(stored.path / ".dvc/cache")
    asked = (
        "from merit.gate.champion import Champion\n"
        "from merit.errors import MeritError\n"
        "try:\n    Champion('HEAD', {}).fetch_package().__enter__()\nexcept MeritError as error: print(error)"
    )
    line = stored.done(sys.executable, "-c", asked).strip()
    assert line.startswith("its package is neither in DVC's cache nor in a remote (")
    assert "\n" not in line


def test_a_bucket_that_is_not_there_and_missing_credentials_are_told(stored: Folder) -> None:
    (stored.path / ".dvc/config.local").unlink()
    assert stored.doctor()[1]["dvc remote"].startswith("missing: s3://models/flights: no credentials; set AWS_")
    stored.done("dvc", "remote", "modify", "storage", "url", "s3://nobodys/flights")
    code, told = stored.doctor(AWS_ACCESS_KEY_ID="me", AWS_SECRET_ACCESS_KEY=SECRET)
    assert code == 1
    assert "has no bucket 'nobodys'; make it, or correct .dvc/config" in told["dvc remote"]


@pytest.fixture
def large(tmp_path: Path) -> Folder:
    """A repository whose table Git LFS keeps, pushed to a bare one."""
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed (Debian: git-lfs); .ci/run installs it")
    made = _started(tmp_path / "first")
    made.done("git", "lfs", "install", "--skip-repo")
    made.done("git", "lfs", "track", "tables/*")
    rows = "".join(f"{i},{i % 7},{'yes' if i % 3 else 'no'}\n" for i in range(600))
    (made.path / "tables").mkdir()
    (made.path / "tables/orders.csv").write_text(f"id,kind,late\n{rows}", encoding="utf-8")
    made.done("merit", "infer", "tables/orders.csv", "--target", "late")
    made.done("git", "add", "--all")
    made.done("git", "commit", "--quiet", "--message", "start")
    made.done("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(tmp_path / "bare.git"))
    made.done("git", "remote", "add", "origin", str(tmp_path / "bare.git"))
    made.done("git", "push", "--quiet", "origin", "main")
    return made


def test_data_that_git_lfs_keeps_is_data_once_it_is_pulled(large: Folder, tmp_path: Path) -> None:
    assert large.doctor()[1]["git lfs"] == "ok: all 1 files that it keeps are here; "
    large.done("git", "clone", "--quiet", str(tmp_path / "bare.git"), str(tmp_path / "second"), GIT_LFS_SKIP_SMUDGE="1")
    clone = Folder(tmp_path / "second")
    code, told = clone.doctor()
    assert code == 1, told
    assert told["git lfs"] == (
        "missing: 1 of 1 files are pointers, such as tables/orders.csv; 'git lfs pull' brings them"
    )
    refused = clone.run("merit", "compose", "experiment=orders")
    assert refused.returncode == 2
    assert "'tables/orders.csv': found a pointer of Git LFS, not the data; 'git lfs pull' brings it" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

    clone.done("git", "lfs", "pull")
    assert clone.doctor()[1]["git lfs"].startswith("ok")
    clone.done("merit", "compose", "experiment=orders")
    large.done("merit", "compose", "experiment=orders")
    assert (clone.path / "params.yaml").read_bytes() == (large.path / "params.yaml").read_bytes()
