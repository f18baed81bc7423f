"""A repository whose commits name packages as DVC would: made by hand, in milliseconds, without training anything."""

import atexit
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache as cached
from pathlib import Path
from typing import Any

import yaml

from merit import artifacts
from merit.dvc import cache

WHO = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_COMMITTER_NAME": "Ada",
       "GIT_COMMITTER_EMAIL": "ada@example.org"}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """A Git repository with a lock, DVC's cache, and a package in model/."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, lock: str) -> "Repository":
        """Make one on branch main, with params.yaml committed."""
        shutil.copytree(cls._make_template(lock), folder, dirs_exist_ok=True)
        return cls(folder)

    @classmethod
    @cached
    def _make_template(cls, lock: str) -> Path:
        """Make the repository that all tests with this lock begin with."""
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        repository = cls(folder)
        repository.git("init", "--quiet", "--initial-branch=main")
        with (folder / ".git/config").open("a") as settings:
            settings.write("[user]\n\tname = Ada\n\temail = ada@example.org\n[commit]\n\tgpgsign = false\n")
        (folder / ".dvc").mkdir()
        (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
        (folder / ".gitignore").write_text(
            "/model/\n/.merit/\n/.dvc/cache\n/.dvc/tmp\n/reports/\nmlflow.db*\n/mlruns/\n"
        )
        (folder / "params.yaml").write_text(lock)
        (folder / "source.parquet").write_text("what the source reads")
        repository.git("add", ".")
        repository.git("commit", "--quiet", "-m", "begin")
        return folder

    def git(self, *args: str) -> str:
        """Run Git here."""
        done = subprocess.run(["git", *args], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all; return the commit."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def package(self, number: int, *, model: str = "tiny") -> str:
        """Make model/ a package of its own content, kept in DVC's cache and named by dvc.lock; return its DVC hash."""
        place = self.folder / artifacts.PACKAGE
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        signature = {"inputs": [], "outputs": [{"name": "prediction"}], "example": {}, "number": number}
        (place / artifacts.SIGNATURE).write_text(json.dumps(signature))
        for name in (artifacts.GRAPH, artifacts.PACKAGED_LOCK, artifacts.PACKAGED_WEIGHTS):
            (place / name).write_text(f"{name} {number:06}")
        files = {path.name: artifacts.hash_file(path) for path in sorted(place.iterdir())}
        manifest = {"model": model, "commit": "c" * 40, "dirty": False, "params_sha256": f"{number:064}",
                    "data_sha256": "d" * 64, "files": files}  # fmt: skip
        (place / artifacts.MANIFEST).write_text(json.dumps(manifest))
        return self.keep()

    def keep(self) -> str:
        """Put model/ into DVC's cache, and its hash into dvc.lock; return that."""
        place = self.folder / artifacts.PACKAGE
        found = cache.hash_folder(place)
        listed = []
        for path in sorted(place.iterdir()):
            md5 = hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324  # as DVC does
            listed.append({"md5": md5, "relpath": path.name})
            self._cache(md5).write_bytes(path.read_bytes())
        self._cache(found).write_text(json.dumps(listed, sort_keys=True))
        out = {"path": "model", "md5": found, "nfiles": len(listed)}
        stages = {"schema": "2.0", "stages": {"package": {"cmd": "merit package", "outs": [out]}}}
        (self.folder / "dvc.lock").write_text(yaml.safe_dump(stages))
        return found

    def _cache(self, md5: str) -> Path:
        place = self.folder / cache.DEFAULT_CACHE / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def declare(self, environment: str, version: str | None, message: str) -> str:
        """Commit that an environment is to run a version."""
        file = self.folder / f"conf/environment/{environment}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"version: {version or 'null'} # which\n")
        return self.commit(message)


def report(*, verdict: str = "pass", auc: float = 0.7) -> dict[str, Any]:
    """Return what the gate says of the package in model/."""
    return {
        "verdict": verdict,
        "candidate": {"digest": artifacts.hash_package(artifacts.PACKAGE)},
        "checks": [
            {"name": "floor: roc_auc", "verdict": "pass", "waived": False},
            {"name": "champion: roc_auc", "verdict": "fail", "waived": True},
        ],
        "metrics": {"candidate": {"roc_auc": {"value": auc}, "log_loss": {"value": None}}},
    }
