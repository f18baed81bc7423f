"""A project with one version and no training: a tiny package in DVC's cache, named by a tag."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit import artifacts
from merit.config.schema.release import Signing
from merit.signing import signatures
from tests.conftest import rewrite_manifest
from tests.support import lineage
from tests.support.small_project import ROOT, Project

STAGES = {"stages": {"package": {"cmd": "true", "outs": ["model"]}}}
FILES = ("bentofile.yaml", "requirements-serving.lock", "requirements.lock", "params.yaml", ".gitignore")
EXAMPLE = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}


def make(
    folder: Path,
    put_package: Callable[[Path], object],
    *,
    base: str,
    engine: str,
    model: str = "tiny",
    keys: Path | None = None,
) -> Project:
    """Make a project whose commit has the version v1 of a model, whose package is put at a place.

    With `keys`, a folder that has `ours.pem` and `ours.pub`, it is signed.
    """
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    lock = yaml.safe_load((folder / "params.yaml").read_text())
    lock["name"] = model
    lock["release"] |= {"base_image": base, "engine": engine}
    if keys is not None:
        shutil.copyfile(keys / "ours.pub", folder / "signing.pub")
        lock["release"]["signing"] = {"method": "key", "public_key": "signing.pub"}
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
    tag(project, project.commit("a package", "."), 1, model, keys)
    return project


def with_example(package: Path) -> None:
    """Give a package an example that it can answer, as packages of the pipeline have one."""
    signature = json.loads((package / artifacts.SIGNATURE).read_text())
    (package / artifacts.SIGNATURE).write_text(json.dumps({**signature, "example": EXAMPLE}))
    rewrite_manifest(package)


def tag(project: Project, commit: str, number: int, model: str = "tiny", keys: Path | None = None) -> None:
    """Give a commit's package a version, signed where there are keys."""
    (out,) = yaml.safe_load(project.read("dvc.lock"))["stages"]["package"]["outs"]
    signature = None if keys is None else _signature(project.folder / "model", keys)
    name, digest = f"{model}@v{number}", artifacts.hash_package(project.folder / "model")
    told = lineage.message(name, commit=commit, package=digest, dvc=out["md5"], signature=signature)
    done = project.run("git", "tag", "--annotate", "--message", told, name, commit)
    assert done.returncode == 0, done.stderr


def _signature(package: Path, keys: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(signatures.PRIVATE_KEY_VARIABLE, str(keys / "ours.pem"))
        return signatures.sign_package(package, Signing(method="key", public_key=str(keys / "ours.pub")))
