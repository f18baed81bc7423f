"""`merit run`: nothing is done twice, nothing stale is kept, and each refusal has its exit code."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from tests.support.small_project import Project


def test_a_run_trains_gates_and_registers(finished):
    report = json.loads(finished.read("reports/gate.json"))
    assert report["verdict"] == "pass"
    assert {check["name"] for check in report["checks"]} >= {"contract", "floor: roc_auc", "champion", "parity", "size"}
    assert json.loads(finished.read("reports/registration.json"))["version"] == "1"


def test_a_second_run_does_nothing_again(project):
    before = project.read("dvc.lock"), project.read("reports/gate.json"), project.read("reports/registration.json")
    done = project.merit("run")
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout
    assert (
        project.read("dvc.lock"),
        project.read("reports/gate.json"),
        project.read("reports/registration.json"),
    ) == before


@pytest.fixture(scope="module")
def composing(finished, tmp_path_factory):
    """A copy of the finished project in which nothing but `merit compose` runs: each writes the whole lock."""
    folder = tmp_path_factory.mktemp("composing") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("gate.size_mb=19", set()),
        ("serve.port=3001", set()),
        ("tracking.experiment=other", set()),
        ("evaluate.confidence=0.9", {"evaluate"}),
        ("evaluate.seeds=2", {"seeds", "evaluate"}),
        ("evaluate.baseline.max_iter=9", {"baseline", "evaluate"}),
        ("package.parity.rows=9000", {"package"}),
        ("optimizer.lr=0.01", {"train", "seeds", "package"}),
        ("trainer.max_epochs=1", {"train", "seeds", "package"}),
        ("model=linear", {"train", "seeds", "evaluate", "package"}),
        ("features.category.min_count=30", {"features", "package"}),
        ("data.contract.rows.min=20001", {"validate", "package"}),
        ("data.window.end=2013-01-30", {"ingest", "package"}),
    ],
)
def test_a_change_makes_stale_just_the_stages_that_depend_on_it(composing, override, stale):
    assert composing.merit("compose", override).returncode == 0
    status = json.loads(composing.run("dvc", "status", "--json").stdout)
    assert set(status) == stale


def test_overrides_go_into_the_lock_and_a_plain_compose_brings_it_back(project):
    before = project.read("params.yaml")
    assert project.merit("run", "model=linear", "trainer.max_epochs=1").returncode in {0, 1}
    assert "merit.models.networks.Linear" in project.read("params.yaml")
    stale = project.merit("compose", "--check")
    assert stale.returncode == 1
    assert "-  _target_: merit.models.networks.Linear" in stale.stdout
    assert project.merit("compose").returncode == 0
    assert project.read("params.yaml") == before
    assert project.merit("compose", "--check").returncode == 0


def test_ingest_writes_the_same_bytes_on_every_run(project):
    before = (project.folder / "data/raw.parquet").read_bytes()
    (project.folder / "data/raw.parquet").unlink()
    assert project.merit("ingest").returncode == 0
    assert (project.folder / "data/raw.parquet").read_bytes() == before


def test_two_folders_train_the_same_weights_bit_for_bit(finished, project):
    (project.folder / "training/weights.safetensors").unlink()
    done = project.merit("train")
    assert done.returncode == 0, done.stderr
    for name in ("weights.safetensors", "history.csv"):
        assert (project.folder / "training" / name).read_bytes() == (finished.folder / "training" / name).read_bytes()


def test_a_broken_contract_stops_the_pipeline_with_exit_1(project):
    done = project.merit("run", "data.contract.rows.min=30000")
    assert done.returncode == 1
    assert "20,000" not in done.stdout
    assert "30000 to 40000" in done.stdout
    assert "stage 'validate' refused" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Running stage 'features'" not in done.stdout
    assert json.loads(project.read("reports/data.json"))["passed"] is False


def test_a_failed_gate_exits_1_and_registers_nothing(project):
    done = project.merit("run", "gate.floors.roc_auc=0.99")
    assert done.returncode == 1
    assert "may not merge" in done.stdout
    assert json.loads(project.read("reports/registration.json"))["version"] is None
    assert project.merit("register").returncode == 1


def test_a_package_of_another_lock_is_not_judged(project):
    assert project.merit("compose", "optimizer.lr=0.01").returncode == 0
    done = project.merit("gate")
    assert done.returncode == 2
    assert "optimizer" in done.stderr
    assert "merit run" in done.stderr


def _start(project: Project, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["merit", *args],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _training_has_begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            return
    raise AssertionError("training never began")


def test_ctrl_c_leaves_nothing_half_written_and_the_next_run_goes_on(project):
    running = _start(project, "run", "trainer.max_epochs=500", "trainer.patience=500")
    _training_has_begun(running)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    # The baseline may have been done; it is whole then.
    assert {file.name for file in project.folder.glob("training/*")} <= {"baseline.parquet", "seeds"}
    assert not list(project.folder.glob("*/.*safetensors*"))
    assert project.merit("run").returncode == 0


def test_a_second_run_is_refused_until_the_first_and_its_stage_have_ended_and_a_killed_one_can_be_run_again(project):
    running = _start(project, "run", "trainer.max_epochs=500", "trainer.patience=500")
    left = project.folder / "training" / ".weights.safetensors.killed"
    try:
        _training_has_begun(running)
        lock = project.read("params.yaml")
        second = project.merit("run", "model=linear")
        assert second.returncode == 2
        assert f"process {running.pid}" in second.stderr
        assert project.read("params.yaml") == lock

        running.kill()
        running.wait(timeout=60)
        left.mkdir(parents=True)
        second = project.merit("run", "model=linear")
        assert second.returncode == 2
        stage = project.read(".merit/stage.lock")
        assert f"a stage or a gate of merit (process {stage}) works in this folder; wait for it" in second.stderr
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
    done = project.merit("compose")
    assert done.returncode == 0, done.stderr
    assert not left.exists()
    done = project.merit("run")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_cannot_be_written_is_one_line_and_exit_2(project):
    # A limit on the size of files acts as a full disk does, for any user.
    before = (project.folder / "data/raw.parquet").read_bytes()
    done = project.merit("ingest", before="ulimit -f 50")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "data/raw.parquet" in done.stderr
    assert (project.folder / "data/raw.parquet").read_bytes() == before
    assert not list(project.folder.glob("data/.raw*"))


@pytest.mark.parametrize(
    ("path", "command", "maker"),
    [
        ("data/raw.parquet", "features", "ingest"),
        ("data/features/train.safetensors", "train", "features"),
        ("training/weights.safetensors", "evaluate", "train"),
        ("data/features/features.json", "train", "features"),
    ],
)
def test_a_truncated_or_missing_file_is_one_line_that_says_what_makes_it(project, path, command, maker):
    file = project.folder / path
    content = file.read_bytes()
    file.unlink()
    for spoilt in (None, content[: len(content) // 2]):
        if spoilt is not None:
            file.write_bytes(spoilt)
        done = project.merit(command)
        assert done.returncode == 2
        assert path in done.stderr
        assert f"merit {maker}" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_unknown_choice_is_one_line_and_nothing_changes(project):
    before = project.read("params.yaml")
    done = project.merit("run", "model=transformer")
    assert done.returncode == 2
    assert "embedding_mlp" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.read("params.yaml") == before
