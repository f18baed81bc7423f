"""`merit release` for real: buildah builds, a registry on loopback keeps, podman runs by digest."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from tests.conftest import rewrite_manifest
from tests.support import containers as tools
from tests.support import released
from tests.support.containers import Containers
from tests.support.endpoint import free_port
from tests.support.released import EXAMPLE
from tests.support.small_project import Project

from merit import artifacts
from merit.serving.auth import api_keys

pytestmark = tools.needed


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Containers]:
    with tools.containers(tmp_path_factory.mktemp("containers"), images) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, make_package: Callable[..., Path], keys: Path) -> Project:
    """A project whose main is pushed to an origin beside it, with a version that is signed."""
    made = released.make(
        tmp_path / "project",
        lambda place: released.with_example(make_package(place)),
        base=tools.BASE,
        engine="buildah",
        keys=keys,
    )
    assert made.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin.git")).returncode == 0
    made.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    assert made.run("git", "push", "--quiet", "origin", "main", "tiny@v1").returncode == 0
    return made


def _release(project: Project, containers: Containers, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**project.environment(), **containers.environment, **more}
    command = ["merit", "release", "tiny@v1"]
    return subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def _recorded(project: Project) -> dict:
    told = project.run("git", "for-each-ref", "--format=%(contents:body)", "refs/tags/release/tiny@v1").stdout
    return yaml.safe_load(told)


def test_a_version_becomes_an_image_that_answers_and_is_released_once(
    project: Project, containers: Containers, tmp_path: Path
) -> None:
    done = _release(project, containers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"image +\d+\.\d MB to load; built and pushed in", done.stdout)
    assert re.search(r"ready +\d+\.\d s after its start", done.stdout), done.stdout
    record = _recorded(project)
    assert record["image"].startswith(f"{containers.registry}/tiny@sha256:")
    origin = project.run("git", "ls-remote", "origin", "release/tiny@v1").stdout
    assert origin, "the tag is not at origin"

    _check_sbom(project, record)
    _check_labels(project, containers, record["image"])
    _check_answers(containers, record["image"], project, tmp_path)
    _check_refuses_what_was_not_signed(containers, record["image"], project, tmp_path)

    again = _release(project, containers)
    assert again.returncode == 0, again.stderr
    assert "was released before" in again.stdout
    assert _recorded(project) == record

    # Killed after the push and before the tag: the image is taken as it is.
    for command in (["tag", "--delete", "release/tiny@v1"], ["push", "origin", ":refs/tags/release/tiny@v1"]):
        assert project.run("git", *command).returncode == 0
    resumed = _release(project, containers)
    assert resumed.returncode == 0, resumed.stderr
    assert "it was in the registry" in resumed.stdout
    assert _recorded(project) == record

    # A tag that another job has pushed meanwhile stands.
    project.run("git", "tag", "--delete", "release/tiny@v1")
    assert "was released before" in _release(project, containers).stdout

    # Of the same name, but another package.
    project.run("git", "tag", "--delete", "release/tiny@v1", "tiny@v1")
    project.run("git", "push", "origin", ":refs/tags/release/tiny@v1", ":refs/tags/tiny@v1")
    (project.folder / "note").write_text("another commit")
    released.tag(project, project.commit("another", "note"), 1)
    other = _release(project, containers)
    assert other.returncode == 2
    assert "merit.commit is" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1

    containers.stop()
    began = time.monotonic()
    down = _release(project, containers)
    assert down.returncode == 2
    assert f"the registry {containers.registry} can't be used" in down.stderr
    assert len(down.stderr.strip().splitlines()) == 1
    assert time.monotonic() - began < 60
    containers.start()


def _check_sbom(project: Project, record: dict) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (project.folder / ".merit/releases/tiny@v1.cdx.json").read_bytes()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    assert record["sbom"] == f"sha256:{hashlib.sha256(text).hexdigest()}"
    parts = {each["name"]: each for each in json.loads(text)["components"]}
    assert parts["onnxruntime"]["version"] in project.read("requirements-serving.lock")
    assert parts["tiny"]["type"] == "machine-learning-model"
    assert not {"torch", "mlflow", "dvc", "lightning"} & set(parts)
    pins = project.read("requirements.lock").lower().replace("_", "-")
    python = [each for each in parts.values() if each.get("purl", "").startswith("pkg:pypi/")]
    built = [each["name"] for each in python if f"{each['name'].lower().replace('_', '-')}==" not in pins]
    assert set(built) <= {"pip", "setuptools"}, "packages that requirements.lock does not pin"


def _check_labels(project: Project, containers: Containers, image: str) -> None:
    labels = json.loads(containers.run("buildah", "inspect", "--type", "image", image))["Docker"]["config"]["Labels"]
    manifest = hashlib.sha256((project.folder / "model/manifest.json").read_bytes()).hexdigest()
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert labels["merit.version"] == "tiny@v1"
    assert labels["merit.package"] == f"sha256:{manifest}"
    assert labels["merit.commit"] == labels["org.opencontainers.image.revision"] == commit


def _check_answers(containers: Containers, image: str, project: Project, room: Path) -> None:
    """Run the image by its digest, pulled anew, as locked up as it is to run, with a file of keys, and ask it."""
    key, entry = api_keys.create_key("test", expires=None, quota=None, roles=("predict",))
    (room / "keys.yaml").write_text(api_keys.render_keys([entry]))
    (room / "keys.yaml").chmod(0o644)
    containers.run("podman", "rmi", "--force", f"{image.partition('@')[0]}:v1")
    port = free_port()
    told = ["--env", "BENTOML_HOST=127.0.0.1", "--env", f"PORT={port}"]
    told += ["--volume", f"{room}/keys.yaml:/run/merit/keys.yaml:ro"]
    locked = ["--read-only", "--cap-drop", "ALL", "--tls-verify=false", *told]
    name = containers.run("podman", "run", "--detach", *locked, image).splitlines()[-1]
    try:
        for _ in range(1200):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                break
            time.sleep(0.1)
        else:
            pytest.fail("never ready: " + containers.run("sh", "-c", f"podman logs {name} 2>&1"))
        body = json.dumps(EXAMPLE).encode()
        address = f"http://127.0.0.1:{port}/predict"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address, data=body, timeout=10)
        asked = urllib.request.Request(address, data=body, headers={"x-api-key": key})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            found = json.load(answer)
        commit = project.run("git", "rev-parse", "tiny@v1^{commit}").stdout.strip()
        assert (found["model"], found["version"], found["commit"]) == ("tiny", "v1", commit)
        assert 0 < found["predictions"][0] < 1
        assert containers.run("podman", "exec", name, "id", "-u") == "10001"
        containers.run("podman", "healthcheck", "run", name)
        touched = subprocess.run(
            ["podman", "exec", name, "touch", "/opt/merit/x"],
            env={**os.environ, **containers.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Read-only file system" in touched.stderr
        assert (
            containers.run("podman", "exec", name, "sh", "-c", "ls /opt/merit/lib/python3*/site-packages").count(
                "torch"
            )
            == 0
        )
    finally:
        containers.run("podman", "rm", "--force", "--volumes", name)
    containers.run("buildah", "pull", "--tls-verify=false", image)


def _check_refuses_what_was_not_signed(containers: Containers, image: str, project: Project, room: Path) -> None:
    """Start the image with another package in it, whose manifest says so; and without its signature."""
    shutil.copytree(project.folder / "model", room / "other")
    (room / "other" / artifacts.PACKAGED_WEIGHTS).write_bytes(b"others")
    rewrite_manifest(room / "other")
    for name in ("other", "other/params.yaml"):
        (room / name).chmod(0o755 if name == "other" else 0o644)
    (room / "none").touch()
    found = {
        "model": (room / "other", "error: model: not what was signed: changed: manifest.json, weights.safetensors"),
        "model.sig": (room / "none", "error: model: its signature can't be read"),
    }
    for name, (put, said) in found.items():
        done = subprocess.run(
            ["podman", "run", "--rm", "--read-only", "--volume", f"{put}:/opt/bento/src/{name}:ro", image],
            env={**os.environ, **containers.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert said in done.stdout + done.stderr
