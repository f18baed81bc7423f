"""What follows a merge, rehearsed: version, image, staging, production and back, each by the workflows' own steps."""

import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rehearse.bare import git
from rehearse.forge import Pull
from rehearse.machine import STAYS
from rehearse.world import RELEASE, World
from tests.support import containers as tools
from tests.support import forks
from tests.support.containers import Containers
from tests.support.endpoint import free_port
from tests.support.small_project import SMALL

pytestmark = [
    tools.needed,
    pytest.mark.skipif(
        shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="haproxy is not installed"
    ),
]
SKIPS = "sed -i 's/^version: null/version: v9/' conf/environment/production.yaml"
FOLDER = "house"
"""Where in the registry the images are."""


@pytest.fixture(scope="module")
def small() -> str:
    return f"{SMALL}release: {{base_image: '{tools.BASE}', engine: buildah}}\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Containers]:
    """A registry that asks who one is."""
    with tools.containers(tmp_path_factory.mktemp("containers"), images, asks=True) as made:
        yield made


@pytest.fixture(scope="module")
def ports(stage: World, registry: Containers) -> Iterator[dict[str, int]]:
    """Environments on a machine of one's own, at ports that are free; what runs there ends with the tests."""
    ports = {"staging": free_port(), "production": free_port()}
    stage.left_out.add("pr.yml")  # what a gate says of pull requests is rehearsed elsewhere
    stage.runner.installed = {key: value for key, value in registry.environment.items() if key != "PYTHONPATH"}
    stage.runner.environments[RELEASE].secrets["REGISTRY_PASSWORD"] = tools.PASSWORD  # the user is who merged
    stage.runner.variables |= {
        "DEPLOY_RUNNER": STAYS,
        "MERIT_REGISTRY": f"{registry.registry}/{FOLDER}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{stage.folder}/mlflow.db",
    }

    def edit(folder: Path) -> None:
        for name, port in ports.items():
            file = folder / f"conf/environment/{name}.yaml"
            text = re.sub(r"(?m)^replicas: .*$", "replicas: 1", file.read_text(encoding="utf-8"))
            file.write_text(re.sub(r"port: \d+", f"port: {port}", text), encoding="utf-8")

    stage.branch("ports", edit)
    stage.merge(stage.forge.open("ports", title="ports", author="writer"))
    assert stage.last("deploy").conclusion == "success", stage.last("deploy").log
    yield ports
    for name in ports:
        pid = stage.folder / STAYS / f".merit/environments/{name}/supervisord.pid"
        if pid.is_file():
            os.kill(int(pid.read_text()), signal.SIGTERM)


def _candidate(world: World, name: str, rows: int) -> Pull:
    """Make a candidate whose package is new, without training: another number of rows in its proof of parity."""

    def edit(folder: Path) -> None:
        file = folder / "conf/package/default.yaml"
        text, count = re.subn(r"rows: \d+", f"rows: {rows}", file.read_text(encoding="utf-8"))
        assert count == 1
        file.write_text(text, encoding="utf-8")

    world.branch(name, edit, command="merit compose && make repro && dvc push --quiet")
    return world.forge.open(name, title=name, author="writer")


def _declared(world: World, name: str, command: str, *, is_planned: bool = False) -> Pull:
    """Open a pull request that changes an environment by a command."""
    world.branch(name, lambda _: None, command=f"git fetch --quiet --tags origin && {command}")
    return world.open(name) if is_planned else world.forge.open(name, title=name, author="writer")


def _deployed(world: World, pull: Pull) -> str:
    merged = world.merge(pull)
    assert world.last("deploy").conclusion == "success", world.last("deploy").log
    return merged


def _answer(world: World, port: int) -> tuple[str, str]:
    """Return which version answers, and of which commit."""
    row = json.loads((world.folder / "main/model/signature.json").read_text(encoding="utf-8"))["example"]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(row).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        told = json.loads(answer.read())
    return told["version"], told["commit"]


def _tags(world: World, pattern: str = "flights@v*") -> list[str]:
    return git(world.forge.place(), "tag", "--list", pattern, "--sort", "version:refname").splitlines()


def _versions(world: World) -> list[str]:
    return [tag for tag in _tags(world) if "#" not in tag]


def _of(world: World, version: str) -> str:
    return git(world.forge.place(), "rev-parse", f"{version}^{{commit}}")


def _image(world: World, version: str) -> str:
    """Return the image of a version, by digest, as its tag tells it."""
    told = git(world.forge.place(), "tag", "--list", "--format=%(contents:body)", f"release/{version}")
    return re.search("(?m)^image: (.*)$", told)[1]


def _status(registry: Containers, path: str) -> int:
    """Return what the registry answers about a manifest of the model's."""
    login = b64encode(f"{tools.USER}:{tools.PASSWORD}".encode()).decode()
    forms = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(
        f"http://{registry.registry}/v2/{FOLDER}/flights/manifests/{path}",
        headers={"Authorization": f"Basic {login}", "Accept": forms},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _proposals(world: World) -> list[str]:
    return [pull.title for pull in world.forge.pulls if pull.title.startswith("staging: ")]


def test_a_registry_that_is_down_stops_a_release_with_one_line(
    world: World, registry: Containers, ports: dict[str, int]
) -> None:
    pull = _candidate(world, "first", 1001)
    registry.stop()
    world.merge(pull)
    registry.start()
    run = world.last("release")
    assert run.conclusion == "failure"
    assert _versions(world) == ["flights@v1"]
    told = [line for line in run.log.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, run.log
    assert f"the registry {registry.registry} doesn't let {tools.USER} log in, tried 3 times: " in told[0]
    assert _tags(world, "release/*") == []
    assert _proposals(world) == []


def test_a_job_that_is_killed_with_half_an_image_pushed_is_finished_by_the_next(
    world: World, registry: Containers, ports: dict[str, int]
) -> None:
    blobs = registry.folder / "registry/docker/registry/v2/blobs"
    installed = world.runner.installed
    world.runner.kill, world.runner.installed = lambda: any(blobs.glob("*/*/*/data")), installed | forks.NONE
    killed = world.dispatch("release.yml", "writer", {})
    world.runner.kill, world.runner.installed = None, installed
    assert killed.step("Run merit release").outcome == "failure"
    assert list(blobs.glob("*/*/*/data"))
    assert _status(registry, "v1") == 404
    assert _tags(world, "release/*") == []

    run = world.dispatch("release.yml", "writer", {})
    assert run.conclusion == "success", run.log
    assert _versions(world) == ["flights@v1"]
    image = _image(world, "flights@v1")
    place, _, digest = image.partition("@")
    assert place == f"{registry.registry}/{FOLDER}/flights"
    assert _status(registry, digest) == _status(registry, "v1") == 200
    assert world.forge.attested == [(place, digest)]


def test_a_merge_is_a_version_with_an_image_that_is_proposed_to_staging(world: World, ports: dict[str, int]) -> None:
    merged = git(world.forge.place(), "rev-parse", "main")
    assert _of(world, "flights@v1") == merged
    proposed = world.forge.pulls[-1]
    assert (proposed.title, proposed.head) == ("staging: flights@v1", "promote/staging-v1")
    changed = git(world.forge.place(), "diff", merged, proposed.sha, "--", ".")
    assert re.findall(r"(?m)^\+(?!\+)(.*?)(?: +#.*)?$", changed) == [
        "version: v1",
        f"image: {_image(world, 'flights@v1')}",
    ]
    assert git(world.forge.place(), "diff", "--name-only", merged, proposed.sha) == "conf/environment/staging.yaml"

    world.pushed(f"{merged}~1", merged, "writer")  # the same event again makes nothing new
    again = world.last("release")
    assert again.conclusion == "success", again.log
    assert "was released before" in again.log
    assert "Running stage" not in again.log
    assert _versions(world) == ["flights@v1"]
    assert world.forge.pulls[-1] is proposed


def test_staging_serves_what_its_merged_file_declares(world: World, ports: dict[str, int]) -> None:
    pull = world.forge.pulls[-1]
    world.changed(pull, "opened")
    (comment,) = [text for text in world.comments(pull) if text.startswith("<!-- merit plan -->")]
    assert "staging: flights&#64;v1 on local" in comment
    _deployed(world, pull)
    version, commit = _answer(world, ports["staging"])
    assert version == "v1"
    assert git(world.forge.place(), "cat-file", "-t", commit) == "commit"
    record = git(world.forge.place(), "tag", "--list", "--format=%(contents:body)", "flights@v1#staging#1")
    assert f"image: {_image(world, 'flights@v1')}" in record


def test_an_environment_that_skips_staging_is_refused_by_its_plan(world: World, ports: dict[str, int]) -> None:
    tags = _tags(world)
    pull = _declared(world, "skips", SKIPS, is_planned=True)
    assert world.last("plan").conclusion == "failure"
    (comment,) = [text for text in world.comments(pull) if text.startswith("<!-- merit plan -->")]
    assert "production: refused" in comment
    assert "v9" in comment
    assert _tags(world) == tags


def test_production_answers_as_the_promoted_version(world: World, ports: dict[str, int]) -> None:
    pull = _declared(world, "production-v1", "merit promote staging production", is_planned=True)
    assert world.last("plan").conclusion == "success", world.last("plan").log
    _deployed(world, pull)
    assert _answer(world, ports["production"])[0] == "v1"
    assert f"image: {_image(world, 'flights@v1')}" in git(
        world.forge.place(), "show", "main:conf/environment/production.yaml"
    )


def test_two_merges_at_once_are_two_versions_and_a_number_that_is_taken_is_passed_over(
    world: World, ports: dict[str, int]
) -> None:
    git(world.forge.place(), "tag", "flights@v2", "main")  # by hand: no version
    before = git(world.forge.place(), "rev-parse", "main")
    one = world.merge(_candidate(world, "next", 1002), quietly=True)
    two = world.merge(_candidate(world, "after", 1003), quietly=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pair: world.pushed(*pair, "writer"), [(before, one), (one, two)]))
    runs = [run for run in world.runs if run.workflow == "release"][-2:]
    assert [run.conclusion for run in runs] == ["success", "success"], "\n".join(run.log for run in runs)
    assert _versions(world) == ["flights@v1", "flights@v2", "flights@v3", "flights@v4"]
    assert {_of(world, "flights@v3"), _of(world, "flights@v4")} == {one, two}
    assert _tags(world, "release/*") == ["release/flights@v1", "release/flights@v3", "release/flights@v4"]
    assert len({_image(world, f"flights@v{number}") for number in (1, 3, 4)}) == 3


def test_of_two_merges_the_later_is_what_is_proposed_whoever_came_first(world: World, ports: dict[str, int]) -> None:
    tip = git(world.forge.place(), "rev-parse", "main")
    (newer,) = [version for version in ("flights@v3", "flights@v4") if _of(world, version) == tip]
    assert _proposals(world) == ["staging: flights@v1", f"staging: {newer}"]
    older = [run for run in world.runs if run.workflow == "release" and run.trigger.sha != tip][-1]
    assert "by now: nothing to propose" in older.log
    world.pushed(f"{older.trigger.sha}~1", older.trigger.sha, "writer")  # and once more, late
    assert "by now: nothing to propose" in world.last("release").log
    assert len(_proposals(world)) == 2


def test_a_revert_brings_the_former_version_back_and_a_late_deploy_does_not_undo_it(
    world: World, ports: dict[str, int]
) -> None:
    former = _answer(world, ports["production"])
    proposed = next(pull for pull in world.forge.pulls if pull.title == _proposals(world)[-1])
    _deployed(world, proposed)
    version = proposed.title.rpartition("@")[2]
    promoted = _deployed(world, _declared(world, "production-next", "merit promote staging production"))
    assert _answer(world, ports["production"])[0] == version
    assert _answer(world, ports["production"])[1] != former[1]

    back = _deployed(world, _declared(world, "back", f"git revert --no-commit --mainline 1 {promoted}"))
    assert "Running stage" not in world.last("deploy").log
    assert _answer(world, ports["production"]) == former

    world.pushed(f"{promoted}~1", promoted, "writer")  # a run that comes late
    late = world.last("deploy")
    assert late.conclusion == "failure"
    assert "is not what main says" in late.log
    assert _answer(world, ports["production"]) == former
    assert git(world.forge.place(), "rev-parse", "main") == back


def test_an_emptied_mlflow_is_filled_again_from_git_and_the_remote(world: World, ports: dict[str, int]) -> None:
    for file in world.folder.glob("mlflow.db*"):
        file.unlink()
    laptop = world.laptop("elsewhere", has_cache=False)
    store = f"MLFLOW_TRACKING_URI={world.runner.variables['MLFLOW_TRACKING_URI']}"
    told = world.work(laptop, f"git fetch --quiet --tags origin; {store} merit registry rebuild")
    assert [f"flights@v{number}: made as" in told for number in (1, 3, 4)] == [True] * 3
    assert "production: points to flights@v1" in told
    assert "MLflow shows what Git says" in world.work(laptop, f"{store} merit registry check")
    assert _answer(world, ports["production"])[0] == "v1"
