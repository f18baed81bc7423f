import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.small_project import Project

from merit.sweep.trials import isolation

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

TRAINED = "trainer.max_epochs=1"


@pytest.fixture(scope="module")
def own(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished project with a network of its own that does what it is told."""
    project = Project(tmp_path_factory.mktemp("own") / "project")
    shutil.copytree(finished.folder, project.folder, symlinks=True)
    (project.folder / "odd").mkdir()
    shutil.copyfile(Path(__file__).with_name("odd.py"), project.folder / "odd" / "__init__.py")
    (project.folder / "pyproject.toml").write_text('[tool.merit]\ntrusted = ["odd", "reference"]\n', encoding="utf-8")
    text = f"_target_: odd.Odd\ndoes: nothing\nproject: {project.folder}\n"
    (project.folder / "conf" / "model" / "odd.yaml").write_text(text, encoding="utf-8")
    project.commit("a network of our own", "odd", "pyproject.toml", "conf")
    return project


def _told(project: Project, name: str) -> dict[int, dict[str, Any]]:
    files = sorted((project.folder / "sweeps" / name / "trials").glob("*/trial.json"))
    return {int(file.parent.name): json.loads(file.read_text(encoding="utf-8")) for file in files}


def _runs(project: Project, name: str) -> tuple[Any, list[Any]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    found = client.search_runs(["1"], f"tags.`merit.sweep` = '{name}'")
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    return parents[0], [run for run in found if run not in parents]


def _texts(project: Project) -> dict[str, bytes]:
    trained = (file for file in (project.folder / "training").rglob("*") if file.is_file())
    names = ["params.yaml", "dvc.lock", *(file.relative_to(project.folder).as_posix() for file in trained)]
    return {name: (project.folder / name).read_bytes() for name in names}


def test_a_sweep_goes_on_whatever_becomes_of_a_trial_and_changes_nothing_else(own: Project) -> None:
    before = _texts(own)
    faults = "nothing,raise,exit,die,diverge,grow,peek"
    done = own.merit("train -m", "model=odd", f"model.does={faults}", TRAINED, "sweep.memory_mb=3000 sweep.name=odd")
    assert done.returncode == 0, done.stdout + done.stderr
    told = _told(own, "odd")
    assert [each["state"] for each in told.values()] == [
        "done",
        "failed",
        "failed",
        "killed",
        "failed",
        "killed",
        "done",
    ]
    assert told[1]["error"] == "odd.Odd.__init__ failed: RuntimeError: no way"
    assert "killed from outside (SIGKILL)" in told[3]["error"]
    assert told[4]["error"].startswith("train: the loss is nan from batch 0 of epoch 0 on")
    assert told[5]["error"].startswith("out of memory")
    assert _texts(own) == before
    folder = own.folder / "sweeps/odd/trials/0000"
    assert {file.name for file in folder.iterdir()} == {
        "history.csv", "log.txt", "params.yaml", "trial.json", "weights.safetensors",
    }  # fmt: skip
    _the_trial_that_peeked_saw_nothing(own, told[6])
    _each_trial_has_its_run(own, told)


def _the_trial_that_peeked_saw_nothing(own: Project, told: dict[str, Any]) -> None:
    lines = own.read("sweeps/odd/trials/0006/log.txt").splitlines()
    ways = [line.split()[:2] for line in lines if line.startswith(("READ", "kept"))]
    assert len(ways) == 12
    if isolation.kernel_has_landlock():
        assert told["isolation"] == "Landlock and an audit hook"
        assert [way for kind, way in ways if kind == "READ"] == []
    assert {"test.safetensors", "test.parquet"}.isdisjoint(
        file.name for file in (own.folder / "sweeps/odd/features").iterdir()
    )


def _each_trial_has_its_run(own: Project, told: dict[int, dict[str, Any]]) -> None:
    parent, runs = _runs(own, "odd")
    assert parent.info.status == "FINISHED"
    assert {run.info.run_id for run in runs} == {each["run"] for each in told.values()}
    by_number = {int(run.data.tags["merit.trial"]): run for run in runs}
    assert by_number.keys() == told.keys()
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs)
    assert by_number[0].info.status == "FINISHED"
    assert by_number[0].data.metrics["best_log_loss"] == told[0]["values"]["log_loss"]
    assert by_number[0].data.params["model.does"] == "nothing"
    assert by_number[1].info.status == "FAILED"
    assert by_number[3].info.status == "KILLED"


def _begun(project: Project, *arguments: str) -> subprocess.Popen[str]:
    merit = [str(Path(sys.executable).parent / "merit"), "train", "-m", *arguments]
    return subprocess.Popen(
        merit,
        cwd=project.folder,
        env=project.environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _alive(project: Project) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(project.folder) in str((entry / "cwd").readlink()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_interrupted_or_killed_goes_on_where_it_was(
    own: Project, end: signal.Signals, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    name = f"end{end}"
    (own.folder / "go").unlink(missing_ok=True)
    process = _begun(own, "model=odd", "model.does=nothing,wait", TRAINED, f"sweep.name={name}")
    states = lambda: {number: each["state"] for number, each in _told(own, name).items()}  # noqa: E731
    eventually(lambda: states().get(0) == "done" and "pid" in _told(own, name).get(1, {}))
    process.send_signal(end)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL), said
    if end == signal.SIGINT:
        assert f"1 of 2 trials are done and kept; go on with 'merit train -m sweep.resume={name}'" in said
    eventually(lambda: not _alive(own))
    assert states() == {0: "done", 1: "running"}
    first = _told(own, name)[0]
    (own.folder / "go").touch()
    again = own.merit("train -m", f"sweep.resume={name}")
    assert again.returncode == 0, again.stdout + again.stderr
    told = _told(own, name)
    assert [each["state"] for each in told.values()] == ["done", "done"]
    assert {**told[0], "run": None} == {**first, "run": None}
    assert len(_runs(own, name)[1]) == 2


def test_a_failure_budget_and_failing_fast_end_a_sweep(own: Project) -> None:
    (own.folder / "go").unlink(missing_ok=True)
    fast = own.merit("train -m", "model=odd", "model.does=raise,wait", "sweep.fail_fast=true sweep.name=fast")
    assert fast.returncode == 1
    assert "given up: trial 0 failed: odd.Odd.__init__ failed: RuntimeError: no way (sweep.fail_fast)" in fast.stderr
    limits = "sweep.workers=1 sweep.timeout_seconds=1 sweep.max_failures=1 sweep.name=late"
    late = own.merit("train -m", "model=odd", "model.does=wait,raise,nothing", limits)
    assert late.returncode == 1
    assert "given up: 2 trials failed, and sweep.max_failures is 1; the last: odd.Odd" in late.stderr
    told = _told(own, "late")
    assert [each["state"] for each in told.values()] == ["killed", "failed"]
    assert told[0]["error"] == "took longer than sweep.timeout_seconds, 1 s"


def test_two_workers_share_a_sweep_without_doing_a_trial_twice(own: Project) -> None:
    what = "model=linear", "seed=range(1,6)", TRAINED, "sweep.name=shared", "sweep.workers=1"
    one = _begun(own, *what)
    while not (own.folder / "sweeps/shared/trials/0000/trial.json").exists():
        assert one.poll() is None, one.communicate()
        time.sleep(0.05)
    other = own.run("merit", "train", "-m", "sweep.resume=shared", "sweep.workers=1", is_itself=True)
    said, _ = one.communicate(timeout=120)
    assert (one.returncode, other.returncode) == (0, 0), said + other.stdout + other.stderr
    told = _told(own, "shared")
    assert [each["state"] for each in told.values()] == ["done"] * 5
    assert len(_runs(own, "shared")[1]) == 5


def _weights(project: Project, name: str, number: int = 0) -> bytes:
    return (project.folder / "sweeps" / name / "trials" / f"{number:04}" / "weights.safetensors").read_bytes()


def test_a_trial_is_what_one_training_is_bit_for_bit_by_whatever_launcher(own: Project) -> None:
    what = "model=linear", TRAINED
    for launcher in ("local", "basic", "submitit_local"):
        named = f"hydra/launcher={launcher}", f"sweep.name={launcher}", "tracking=csv"
        done = own.merit("train -m", *what, "seed=7,8", *named)
        assert done.returncode == 0, done.stdout + done.stderr
    before = own.read("params.yaml")
    assert own.merit("compose", *what, "seed=7").returncode == 0
    assert own.merit("train").returncode == 0
    (own.folder / "params.yaml").write_text(before, encoding="utf-8")
    single = (own.folder / "training" / "weights.safetensors").read_bytes()
    assert _weights(own, "local") == _weights(own, "basic") == _weights(own, "submitit_local") == single
    assert _weights(own, "local", 1) != single
    assert own.read("sweeps/local/trials/0000/history.csv") == own.read("training/history.csv")
    _kept_as_csv(own)
    assert "basic  2 of 2 trials  trial" in own.merit("sweep", "list").stdout
    assert "trial" in own.merit("sweep", "show", "basic").stdout


def _kept_as_csv(own: Project) -> None:
    kept = [file.read_text(encoding="utf-8") for file in (own.folder / "runs" / "flights").glob("*/run.csv")]
    parent = next(text for text in kept if "\nname,local\n" in text)
    identity = next(line for line in parent.splitlines() if line.startswith("id,")).removeprefix("id,")
    assert sum(f"\nparent,{identity}\n" in text for text in kept) == 2


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def test_a_sweep_runs_on_a_ray_cluster_of_two_nodes(
    own: Project, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    pytest.importorskip("ray")
    (own.folder / "go").unlink(missing_ok=True)
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd=own.folder,
        env={**own.environment(), **quiet},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        address = next(line for line in cluster.stdout if ":" in line and " " not in line.strip()).strip()
        on = "hydra/launcher=ray", f"hydra.launcher.address={address}"
        sweep = _begun(own, "model=odd", "model.does=wait", "seed=7,8", TRAINED, *on, "sweep.name=ray")
        # A node has one processor: two trials at once are on both.
        eventually(lambda: len([each for each in _told(own, "ray").values() if "pid" in each]) == 2)
        (own.folder / "go").touch()
        said, _ = sweep.communicate(timeout=120)
        cluster.communicate("")
    assert sweep.returncode == 0, said
    assert "2 at once" in said
    assert [each["state"] for each in _told(own, "ray").values()] == ["done", "done"]
