"""A project with one version and no training: a tiny package in DVC's cache, named by a tag."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from merit import artifacts
from tests.conftest import rewrite_manifest
from tests.small_project import ROOT, Project

STAGES = {"stages": {"package": {"cmd": "true", "outs": ["model"]}}}
FILES = ("bentofile.yaml", "requirements-serving.lock", "requirements.lock", "params.yaml", ".gitignore")
EXAMPLE = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
LINEAGE = {
    "params": "p" * 64,
    "data": "d" * 64,
    "data_fingerprint": "sha256:" + "0" * 64,
    "verdict": "pass",
    "checks": 12,
    "waived": [],
    "metrics": {"roc_auc": 0.7},
    "run": None,
    "signature": None,
}


def make(
    folder: Path, put_package: Callable[[Path], object], *, base: str, engine: str, model: str = "tiny"
) -> Project:
    """Make a project whose commit has the version v1 of a model, whose package is put at a place."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    lock = yaml.safe_load((folder / "params.yaml").read_text())
    lock["release"] |= {"base_image": base, "engine": engine}
    (folder / "params.yaml").write_text(yaml.safe_dump(lock, sort_keys=False))
    (folder / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    (folder / ".home").mkdir()
    with (folder / ".gitignore").open("a") as handle:
        handle.write("/.home/\n")
    put_package(folder / "model")
    project = Project(folder)
    for command in (["git", "init", "--quiet", "--initial-branch", "main"], ["dvc", "init", "--quiet"]):
        assert (done := project.run(*command)).returncode == 0, done.stderr
    assert (done := project.run("dvc", "commit", "--force", "package")).returncode == 0, done.stderr
    tag(project, project.commit("a package", "."), 1, model)
    return project


def with_example(package: Path) -> None:
    """Give a package an example that it can answer, as packages of the pipeline have one."""
    signature = json.loads((package / artifacts.SIGNATURE).read_text())
    (package / artifacts.SIGNATURE).write_text(json.dumps({**signature, "example": EXAMPLE}))
    rewrite_manifest(package)


def tag(project: Project, commit: str, number: int, model: str = "tiny") -> None:
    """Give a commit's package a version."""
    (out,) = yaml.safe_load(project.read("dvc.lock"))["stages"]["package"]["outs"]
    lineage = {"commit": commit, "package": artifacts.package_digest(project.folder / "model"), "dvc": out["md5"]}
    body = yaml.safe_dump({**lineage, **LINEAGE}, sort_keys=False)
    name = f"{model}@v{number}"
    done = project.run("git", "tag", "--annotate", "--message", f"{name}: 12 checks passed\n\n{body}", name, commit)
    assert done.returncode == 0, done.stderr
