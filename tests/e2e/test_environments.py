"""Environments on the target local: processes, a proxy, requests. Versions are tiny packages made without training."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.support import environments
from tests.support.environments import EXAMPLE, World
from tests.support.load import Load

from merit import artifacts
from merit.serving.auth import api_keys

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="haproxy is not installed"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = environments.make(tmp_path_factory.mktemp("environments") / "repository", versions=6)
    yield made
    made.down()


@pytest.fixture
def at(world):
    """Have staging serve a version, and nothing else, before the test."""

    def declare(version: str | None, **more) -> World:
        def edit(values):
            values |= {"version": version, "replicas": 1, "traffic": {"canary": None, "shadow": None}, **more}

        world.declare("staging", edit)
        done = world.merit("apply", "staging")
        assert done.returncode == 0, done.stderr
        return world

    return declare


def ask(world: World, name: str = "staging") -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{world.ports[name]}/predict", json.dumps(EXAMPLE).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def actual(world: World, name: str = "staging") -> dict:
    done = world.merit("status", "--json")
    return next(each for each in json.loads(done.stdout) if each["environment"] == name)


def state(world: World, name: str = "staging") -> dict:
    return json.loads((world.folder / f".merit/environments/{name}/state.json").read_text())


def processes(world: World) -> set[int]:
    """Return every process that works in the repository."""
    found = set()
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and (each / "cwd").resolve() == world.folder.resolve():
                found.add(int(each.name))
        except OSError:
            continue
    return found


def pids(*args: str) -> list[int]:
    """Return the processes that `pgrep ARGS` names."""
    done = subprocess.run(["pgrep", *args], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def registered(world: World) -> None:
    """Fill MLflow with the versions, as the registry's rebuild does."""
    code = """
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///mlflow.db")
client.create_registered_model("tiny")
run = client.create_run("0")
for number in range(1, 7):
    source = run.info.artifact_uri + "/model"
    client.create_model_version("tiny", source, run.info.run_id, tags={"merit.version": f"tiny@v{number}"})
"""
    for file in world.folder.glob("mlflow.db*"):
        file.unlink()
    done = world.run("python", "-c", code, MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stderr


def alias(world: World, name: str = "staging", number: int | None = None) -> str | None:
    """Return what MLflow's alias points to, after it was moved by hand if a number is given."""
    code = f"""
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///mlflow.db")
if {number}: client.set_registered_model_alias("tiny", "{name}", "{number}")
print(client.get_registered_model("tiny").aliases.get("{name}"))
"""
    done = world.run("python", "-c", code, MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_a_promotion_is_planned_applied_and_answered_and_a_revert_brings_the_former_version_back(at):
    world = at("v1")
    assert ask(world)["version"] == "v1"
    world.promote("v2", "staging")
    plan = world.merit("plan", "staging")
    assert plan.returncode == 1
    assert "- version: v1\n+ version: v2" in plan.stdout
    assert "roc_auc: 0.61 -> 0.62 (+0.0100)" in plan.stdout
    done = world.merit("apply", "staging")
    assert done.returncode == 0, done.stderr
    answer = ask(world)
    commit = world.git("rev-parse", "tiny@v2^{commit}")
    assert (answer["model"], answer["version"], answer["commit"]) == ("tiny", "v2", commit)
    world.git("revert", "--no-edit", "HEAD")
    assert world.merit("apply", "staging").returncode == 0
    assert ask(world)["version"] == "v1"


def test_every_apply_is_recorded_and_a_second_one_writes_nothing(at):
    world = at("v1")
    world.promote("v2", "staging")
    first = world.merit("apply", "staging")
    name = first.stdout.split("recorded as ")[1].split()[0]
    told = world.git("tag", "--list", "--format=%(contents)", name)
    assert f"{name}: staging serves tiny@v2" in told
    values = yaml.safe_load(told.partition("\n\n")[2])
    assert values["commit"] == world.git("rev-parse", "HEAD")
    assert values["file"] == "sha256:" + artifacts.hash_file(world.folder / "conf/environment/staging.yaml")

    def files():
        found = (world.folder / ".merit/environments/staging").rglob("*")
        return {path: path.stat().st_mtime_ns for path in found if path.suffix in {".json", ".conf", ".cfg", ".map"}}

    before, tags, kept = processes(world), world.git("tag"), files()
    second = world.merit("apply", "staging")
    assert "what serves is as declared" in second.stdout
    assert (processes(world), world.git("tag"), files()) == (before, tags, kept)


def test_versions_change_under_64_connections_without_a_request_that_fails(at):
    world = at("v1", replicas=2)
    with Load(world.ports["staging"], EXAMPLE) as load:
        for version in ("v2", "v1"):
            world.declare("staging", lambda values, version=version: values.update(version=version))
            done = world.merit("apply", "staging")
            assert done.returncode == 0, done.stderr
            after = time.monotonic()
            time.sleep(0.5)
            late = {each for when, each in load.answers if when > after + 0.1}
            assert late == {version}
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2"}


def test_going_back_one_two_and_five_versions_needs_neither_training_nor_mlflow(at):
    world = at("v1")
    for number in range(2, 7):
        world.promote(f"v{number}", "staging")
    assert world.merit("apply", "staging").returncode == 0
    assert ask(world)["version"] == "v6"
    for back, version in ((1, "v5"), (2, "v3"), (2, "v1")):
        for step in range(back):
            world.git("revert", "--no-edit", f"HEAD~{2 * step}" if step else "HEAD")
        while yaml.safe_load((world.folder / "conf/environment/staging.yaml").read_text())["version"] != version:
            _revert_last_promotion(world)
        done = world.merit("apply", "staging")
        assert done.returncode == 0, done.stderr
        assert "the alias 'staging' is not set: MLflow is empty; 'merit registry rebuild'" in done.stderr
        assert ask(world)["version"] == version


def _revert_last_promotion(world: World) -> None:
    values = yaml.safe_load((world.folder / "conf/environment/staging.yaml").read_text())
    commit = world.git("log", "-1", "--format=%H", "--grep", f"^staging: {values['version']}$")
    world.git("revert", "--no-edit", commit)


@pytest.mark.parametrize("fault", ["does not start", "answers otherwise"])
def test_a_version_that_does_not_come_up_is_not_switched_to(at, fault):
    world = at("v1")
    number = max(int(tag.partition("@v")[2]) for tag in world.git("tag", "--list", "tiny@v?", "tiny@v??").split()) + 1

    def spoil(folder, signature):
        if fault == "does not start":
            (folder / artifacts.GRAPH).write_bytes(b"no graph")
        else:
            signature["example"] = {**EXAMPLE, "color": "red"}

    world.add_version(number, spoil=spoil)
    world.promote(f"v{number}", "staging")
    before = {each["name"] for each in state(world)["replicas"]}
    with Load(world.ports["staging"], EXAMPLE, connections=8) as load:
        done = world.merit("apply", "staging")
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert ("does not become ready" if fault == "does not start" else "smoke") in done.stderr
    assert (load.failures, set(load.versions)) == ([], {"v1"})
    assert {each["name"] for each in state(world)["replicas"]} == before


def test_a_killed_replica_is_replaced_and_nobody_notices(at):
    world = at("v1", replicas=2)
    pid = int((world.folder / ".merit/environments/staging/supervisord.pid").read_text())
    replicas = pids("-P", str(pid), "-f", "merit.serving.server.worker_supervisor")
    with Load(world.ports["staging"], EXAMPLE, connections=16) as load:
        os.kill(replicas[0], signal.SIGKILL)
        time.sleep(0.5)
        done = world.merit("apply", "staging")
        assert done.returncode == 0, done.stderr
    assert load.failures == []
    found = actual(world)
    assert (found["healthy"], found["actual"]["replicas"]) == (True, 2)


def test_a_killed_supervisor_leaves_no_process_and_apply_brings_all_back(at):
    world = at("v1")
    os.kill(int((world.folder / ".merit/environments/staging/supervisord.pid").read_text()), signal.SIGKILL)
    for _ in range(100):
        if not processes(world):
            break
        time.sleep(0.1)
    assert processes(world) == set()
    assert world.merit("plan", "staging").returncode == 1
    assert world.merit("apply", "staging").returncode == 0
    assert ask(world)["version"] == "v1"


def test_an_apply_that_is_killed_in_the_middle_is_finished_by_the_next(at):
    world = at("v1")
    world.promote("v2", "staging")
    with Load(world.ports["staging"], EXAMPLE, connections=8) as load:
        command = subprocess.Popen(["merit", "apply", "staging"], cwd=world.folder, env=world.environment())
        for _ in range(200):
            if len(state(world)["replicas"]) > 1:
                break
            time.sleep(0.05)
        command.kill()
        command.wait()
        assert "unfinished" in actual(world)["actual"]
        done = world.merit("apply", "staging")
        assert done.returncode == 0, done.stderr
    assert load.failures == []
    assert ask(world)["version"] == "v2"
    assert [each["phase"] for each in state(world)["replicas"]] == ["serving"]


def test_two_applies_at_once_do_the_work_once(at):
    world = at("v1")
    world.promote("v2", "staging")
    both = [
        subprocess.Popen(
            ["merit", "apply", "staging"], cwd=world.folder, env=world.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [each.communicate(timeout=100) for each in both]
    assert sorted(each.returncode for each in both) == [0, 2], said
    assert any("another apply of staging" in err for _, err in said)
    assert ask(world)["version"] == "v2"


def test_what_was_changed_by_hand_in_the_proxy_is_seen_and_put_right(at):
    world = at("v1")
    code = """
import sys
from merit.deploy.targets.local import proxy as local_proxy
from merit.deploy.targets.local.state import RuntimeFolder
local_proxy.send_commands(RuntimeFolder("staging"), f"set server live/s{sys.argv[1]} state maint")
"""
    slot = state(world)["replicas"][0]["slot"]
    assert world.run("python", "-c", code, str(slot)).returncode == 0
    plan = world.merit("plan", "staging")
    assert plan.returncode == 1
    assert "- proxy: changed by hand" in plan.stdout
    assert world.merit("apply", "staging").returncode == 0
    assert ask(world)["version"] == "v1"


def test_canary_and_shadow_get_their_shares(at):
    world = at("v1", traffic={"canary": {"version": "v2", "share": 0.25}, "shadow": {"version": "v3", "share": 0.5}})
    with Load(world.ports["staging"], EXAMPLE, connections=4, pause=0.02) as load:
        while len(load.answers) < 1000 and not load.failures:
            time.sleep(0.1)
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2"}
    assert 0.18 < load.versions["v2"] / load.versions.total() < 0.32
    code = """
from merit.deploy.targets.local import proxy as local_proxy
from merit.deploy.targets.local.state import RuntimeFolder
rows = [line.split(",") for line in local_proxy.send_commands(RuntimeFolder("staging"), "show stat").splitlines()]
print(*[row[7] for row in rows if row[:2] == ["shadow", "BACKEND"]])
"""
    copies = int(world.run("python", "-c", code).stdout)
    assert 0.40 < copies / load.versions.total() < 0.60


def test_a_shadow_that_hangs_delays_nobody(at):
    world = at("v1", traffic={"canary": None, "shadow": {"version": "v3", "share": 1.0}})
    shadow = next(each for each in state(world)["replicas"] if each["role"] == "shadow")
    parents = pids("-f", f"merit.serving.server.worker_supervisor 127.0.0.1 {shadow['port']} ")
    workers = [pid for parent in parents for pid in pids("-P", str(parent))]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        with Load(world.ports["staging"], EXAMPLE, connections=16) as load:
            began = time.monotonic()
            while time.monotonic() < began + 3:
                time.sleep(0.1)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert load.failures == []
    assert len(load.answers) > 16 * 10


def test_an_alias_that_was_moved_by_hand_is_drift_and_apply_moves_it_back(at):
    world = at("v1")
    registered(world)
    try:
        done = world.merit("apply", "staging")
        assert done.returncode == 0, done.stderr
        assert alias(world) == "1"
        assert world.merit("plan", "staging").returncode == 0
        began = time.monotonic()
        assert world.merit("plan", "staging").returncode == 0
        assert time.monotonic() - began < 6  # 2 s on a machine that does nothing else
        assert alias(world, number=5) == "5"
        plan = world.merit("plan", "staging")
        assert plan.returncode == 1
        assert "- alias staging in MLflow: tiny@v5\n+ alias staging in MLflow: tiny@v1" in plan.stdout
        assert world.merit("apply", "staging").returncode == 0
        assert alias(world) == "1"
    finally:
        for file in world.folder.glob("mlflow.db*"):
            file.unlink()


def test_an_environment_without_version_ends_every_process(at):
    world = at("v1")
    world = at(None)
    assert processes(world) == set()
    assert not (world.folder / ".merit/environments/staging").exists()
    assert world.merit("plan", "staging").returncode == 0
    assert "no difference" in world.merit("apply", "staging").stdout


def test_a_port_that_is_taken_is_one_line_and_nothing_is_left(at):
    world = at(None)
    with environments.taken(world.ports["staging"]):
        world.declare("staging", lambda values: values.update(version="v1"))
        done = world.merit("apply", "staging")
    assert done.returncode == 2
    assert f"127.0.0.1:{world.ports['staging']} can't be used" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert processes(world) == set()


def test_without_haproxy_apply_says_what_to_install(at):
    world = at(None)
    world.declare("staging", lambda values: values.update(version="v1"))
    done = world.merit("apply", "staging", MERIT_HAPROXY="/nowhere/haproxy")
    assert done.returncode == 2
    assert "haproxy: not found" in done.stderr


def test_an_environment_that_asks_for_keys_is_tried_by_one_that_is_thrown_away(world, at):
    key, entry = api_keys.create_key("shop", expires=None, quota=None, roles=("predict",))
    world.write("keys.yaml", api_keys.render_keys([entry]))
    before = (world.folder / "params.yaml").read_text(encoding="utf-8")
    lock = yaml.safe_load(before)
    lock["serve"]["auth"] = {"method": "keys", "keys": "keys.yaml"}
    world.write("params.yaml", yaml.safe_dump(lock, sort_keys=False))
    try:
        at("v1")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(world)
        address = f"http://127.0.0.1:{world.ports['staging']}/predict"
        request = urllib.request.Request(address, json.dumps(EXAMPLE).encode())
        request.add_header("x-api-key", key)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.loads(answer.read())["version"] == "v1"
    finally:
        world.write("params.yaml", before)
        (world.folder / "keys.yaml").unlink()
        at("v1")
