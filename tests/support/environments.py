"""A repository with versions of a tiny model for the tests of environments: no training, packages made by hand."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import yaml

from merit import artifacts
from merit.config.schema import Lock
from merit.features.transform import NumberScale, Preprocessing, Vocabulary
from tests.conftest import _values, scoring_graph
from tests.support import lineage
from tests.support.endpoint import free_port

EXAMPLE = {"shop": "north", "kind": 1, "size": 50.0, "weight": 0.5}
PIPELINE = "stages:\n  package:\n    cmd: 'true'\n    outs: [model]\n"
FILE = """# what {name} serves
version: null
image: null
target: local
replicas: {replicas}   # as many as it takes
traffic: {{canary: null, shadow: null}}
demands: {{after: {after}}}
local: {{port: {port}}}
"""


@dataclass
class World:
    """A repository on main with versions, and what runs of it."""

    folder: Path
    ports: dict[str, int]

    def run(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            args,
            cwd=self.folder,
            env=self.environment() | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def merit(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a merit command in it."""
        return self.run(str(Path(sys.executable).with_name("merit")), *args, **more)

    def git(self, *args: str) -> str:
        """Run Git in it."""
        done = self.run("git", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        """Return an environment that holds nothing of the one the tests run in but where programs are."""
        who = {f"GIT_{role}_{what}": f"test{'@example.org' * (what == 'EMAIL')}"
               for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = str(self.folder.parent / "home")
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "GOMP_SPINCOUNT") if name in os.environ}
        return {"PATH": programs, "HOME": home, "LANG": "C.UTF-8", **who, **kept, "GIT_CONFIG_GLOBAL": "/dev/null"}

    def write(self, name: str, text: str) -> Path:
        """Write a file of it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def commit(self, message: str) -> str:
        """Commit all of it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def declare(self, name: str, edit) -> str:
        """Change an environment's file on main by an edit of its values, and commit that."""
        path = self.folder / f"conf/environment/{name}.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        edit(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return self.commit(f"{name}: another declaration")

    def promote(self, source: str, name: str) -> str:
        """Promote and commit that on main."""
        done = self.merit("promote", source, name)
        assert done.returncode == 0, done.stderr
        return self.commit(f"{name}: {source}")

    def down(self) -> None:
        """End all that runs."""
        for name in self.ports:
            pid = self.folder / f".merit/environments/{name}/supervisord.pid"
            if pid.is_file():
                number = int(pid.read_text())
                os.kill(number, 15)
                for _ in range(400):
                    if not Path(f"/proc/{number}").exists():
                        break
                    time.sleep(0.05)

    def add_version(self, number: int, *, spoil=None, verdict: str = "pass") -> None:
        """Make a package of other answers than any before, commit it, and tag the commit as a version."""
        package = self.folder / "model"
        for file in package.glob("*"):
            file.unlink()
        package.mkdir(exist_ok=True)
        transform = Preprocessing(
            [Vocabulary("shop", "string", ["north", "south", "west"]), Vocabulary("kind", "integer", [1, 2, 3])],
            [
                NumberScale("size", 50.0 + number, 10.0, 4.0, has_missing_flag=True),
                NumberScale("weight", 0.5, 0.25, 4.0, has_missing_flag=False),
            ],
        )
        _write_package(package, scoring_graph(transform), number, spoil)
        assert self.run("dvc", "commit", "--force", "package").returncode == 0
        commit = self.commit(f"a model, the {number}th")
        md5 = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]["package"]["outs"][0]["md5"]
        message = lineage.message(
            f"tiny@v{number}",
            commit=commit,
            package=artifacts.hash_package(package),
            dvc=md5,
            params=f"{number}" * 64,
            verdict=verdict,
            metrics={"roc_auc": 0.6 + number / 100},
        )
        self.git("tag", "--annotate", "--message", message, f"tiny@v{number}")


def _write_package(folder: Path, graph: onnx.ModelProto, number: int, spoil) -> None:
    (folder / artifacts.GRAPH).write_bytes(graph.SerializeToString())
    inputs = [
        {"name": "shop", "type": "string", "nullable": False, "description": None},
        {"name": "kind", "type": "integer", "nullable": False, "description": None},
        {"name": "size", "type": "number", "nullable": True, "description": None},
        {"name": "weight", "type": "number", "nullable": False, "description": None},
    ]
    signature = {"inputs": inputs, "outputs": [{"name": "prediction", "task": "binary"}], "example": EXAMPLE}
    if spoil is not None:
        spoil(folder, signature)
    (folder / artifacts.SIGNATURE).write_text(json.dumps(signature))
    (folder / artifacts.PACKAGED_WEIGHTS).write_bytes(b"weights %d" % number)
    (folder / artifacts.PACKAGED_LOCK).write_text("")
    files = {p.name: artifacts.hash_file(p) for p in sorted(folder.iterdir()) if p.name != artifacts.MANIFEST}
    manifest = {"model": "tiny", "commit": f"{number:x}" * 40, "dirty": False, "params_sha256": f"{number}" * 64,
                "data_sha256": "d" * 64, "files": files}  # fmt: skip
    (folder / artifacts.MANIFEST).write_text(json.dumps(manifest))


def make(folder: Path, versions: int = 2, *, replicas: int = 1) -> World:
    """Make a repository with so many versions and the environments staging and production, which serve nothing yet."""
    world = World(folder, {"staging": free_port(), "production": free_port()})
    (folder.parent / "home").mkdir(exist_ok=True)
    folder.mkdir()
    world.git("init", "--quiet", "--initial-branch=main")
    lock = Lock.model_validate(_values() | {"serve": _values()["serve"] | {"max_rows": 100, "max_bytes": 100_000}})
    world.write("params.yaml", yaml.safe_dump(lock.model_dump(mode="json", by_alias=True), sort_keys=False))
    world.write("dvc.yaml", PIPELINE)
    world.write(".dvc/config", "[core]\n    analytics = false\n    autostage = false\n")
    world.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    world.write(".gitignore", "/model/\n/.merit/\n/mlflow.db*\n/mlruns/\n")
    for name, port in world.ports.items():
        after = "null" if name == "staging" else "staging"
        world.write(f"conf/environment/{name}.yaml", FILE.format(name=name, replicas=replicas, after=after, port=port))
    for number in range(1, versions + 1):
        world.add_version(number)
    return world


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Hold a port."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the test before may linger
        held.bind(("127.0.0.1", port))
        held.listen()
        yield
