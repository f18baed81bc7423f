"""`merit reproduce`: what a commit's dvc.lock names, computed again, and the input that differs named."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.small_project import Project

DVC_YAML = """
stages:
  ingest:
    cmd: cp own/orders.csv raw.csv
    deps: [lines.py]
    outs: [raw.csv]
  train:
    cmd: python train.py
    params: [seed, optimizer.lr]
    deps: [train.py, raw.csv]
    outs: [training/weights.safetensors]
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, training/weights.safetensors]
    metrics: [reports/metrics.json]
"""
TRAIN = """
import os, numpy, pathlib, time
from safetensors.numpy import save_file
if os.environ.get("WAIT"):
    pathlib.Path(os.environ["WAIT"]).touch()
    time.sleep(60)
seed = int(open("params.yaml").read().split("seed: ")[1].split()[0])
pathlib.Path("training").mkdir(exist_ok=True)
weights = numpy.full(3, seed + float(os.environ.get("MACHINE", 0)), numpy.float32)
save_file({"layer": weights}, "training/weights.safetensors")
"""
EVALUATE = """
import json, pathlib
from safetensors.numpy import load_file
value = 0.5 + float(load_file("training/weights.safetensors")["layer"][0]) / 100
pathlib.Path("reports").mkdir(exist_ok=True)
metrics = {"candidate": {"roc_auc": {"value": value, "low": value - 0.02, "high": value + 0.02}}}
pathlib.Path("reports/metrics.json").write_text(json.dumps(metrics))
"""
PARAMS = "seed: 7\noptimizer: {lr: 1.0e-05}\ndata: {source: {path: own/orders.csv}}\n"
FILES = {"dvc.yaml": DVC_YAML, "train.py": TRAIN, "evaluate.py": EVALUATE, "lines.py": "1\n", "params.yaml": PARAMS,
         "own/orders.csv": "a\n", ".gitignore": "/own/\n/.home/\n/.merit/\n"}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny pipeline that was run, with its locks committed; its data is not in Git. Don't change it: use `locked`."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    for name, text in FILES.items():
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / name).write_text(text, encoding="utf-8")
    (project.folder / ".home").mkdir()
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "init", "--quiet")
    project.commit("start", ".")
    done = project.run("dvc", "repro", "--quiet")
    assert done.returncode == 0, done.stderr
    project.commit("locked", ".")
    return project


@pytest.fixture
def locked(made, tmp_path):
    """A copy of it, to be changed at will."""
    shutil.copytree(made.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def _write(project: Project, path: str, old: str, new: str) -> None:
    text = project.read(path)
    assert old in text
    (project.folder / path).write_text(text.replace(old, new), encoding="utf-8")


def _is_clean(project: Project) -> bool:
    listed = project.run("git", "worktree", "list").stdout.splitlines()
    return len(listed) == 1 and not (project.folder / ".merit/reproduce").exists()


def _with(project: Project, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return project.run("env", *(f"{name}={value}" for name, value in environment.items()), "merit", *args)


def test_what_is_identical_is_told_stage_by_stage_and_nothing_is_taken_from_a_cache(locked):
    before = locked.run("git", "status", "--porcelain").stdout, len(list(locked.folder.glob(".dvc/cache/**/*")))
    # What is here is not what is reproduced: that is the commit.
    _write(locked, "train.py", "seed + ", "seed + 1 + ")
    locked.run("git", "worktree", "add", "--detach", ".merit/reproduce/killed")
    done = locked.merit("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'train'" in done.stdout
    assert "'own/orders.csv' is taken from this folder" in done.stdout
    assert done.stdout.endswith(
        "ingest    identical\ntrain     identical\nevaluate  identical\n"
        f"reproduce: {locked.run('git', 'rev-parse', 'HEAD').stdout[:7]} is identical, all 3 stages bit for bit\n"
    )
    assert done.stderr == ""
    locked.run("git", "checkout", "train.py")
    assert before == (
        locked.run("git", "status", "--porcelain").stdout,
        len(list(locked.folder.glob(".dvc/cache/**/*"))),
    )
    assert _is_clean(locked)


def test_changed_inputs_are_named_before_anything_is_computed_and_at_the_end(locked):
    _write(locked, "params.yaml", "seed: 7", "seed: 8")
    _write(locked, "lines.py", "1", "2")
    locked.commit("another seed, a stale lock")
    done = locked.merit("reproduce")
    assert done.returncode == 1, done.stdout + done.stderr
    first, _, rest = done.stdout.partition("computes:")
    assert "inputs:   ingest: lines.py differs\n" in first
    assert "inputs:   train: params.yaml: seed was 7, is 8\n" in first
    assert "ingest    identical, although lines.py differs\n" in rest
    assert "train     differs: training/weights.safetensors, and params.yaml: seed was 7, is 8\n" in rest
    assert "training/weights.safetensors: layer: differs by up to 1.00e+00\n" in rest
    assert "evaluate  differs: reports/metrics.json, as training/weights.safetensors does\n" in rest
    assert "reports/metrics.json: roc_auc: was 0.570000, is 0.580000 (+1.0e-02)\n" in rest
    assert "differs, first in train: params.yaml: seed was 7, is 8\n" in rest
    assert "processor" not in rest.partition("first in")[2].partition("tolerance")[0]


def test_the_same_inputs_on_another_machine_are_told_with_the_difference_and_the_tolerance(locked):
    done = _with(locked, "reproduce", "HEAD", MACHINE="0.125")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "inputs:" not in done.stdout
    assert "layer: differs by up to 1.25e-01\n" in done.stdout
    assert "differs, first in train: the same went in, so it is code that no stage declares, a package" in done.stdout
    assert "not recorded of the training: Python, processor" in done.stdout
    assert "the test metrics are within the tolerance" in done.stdout
    assert _is_clean(locked)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_stages_and_leaves_no_worktree(locked, tmp_path, eventually, sent):
    begun = tmp_path / "begun"
    running = subprocess.Popen(
        ["merit", "reproduce"],
        cwd=locked.folder,
        env={**locked.environment(), "WAIT": str(begun)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    eventually(begun.exists)
    running.send_signal(sent)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert errors == "interrupted: nothing was left half-written; run it again\n"
    assert _is_clean(locked)


def test_a_killed_run_keeps_others_away_until_its_stage_ends(locked, tmp_path, eventually):
    begun = tmp_path / "begun"
    with subprocess.Popen(
        ["merit", "reproduce"],
        cwd=locked.folder,
        env={**locked.environment(), "WAIT": str(begun)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        eventually(begun.exists)
        (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.kill()
    try:
        done = locked.merit("reproduce")
        assert done.returncode == 2
        assert "another merit reproduce" in done.stderr
    finally:
        os.killpg(int(child), signal.SIGKILL)
    assert not _is_clean(locked)
    eventually(lambda: "another merit reproduce" not in locked.merit("reproduce", "no-such").stderr)


def _refused(project: Project, *args: str) -> str:
    done = project.merit("reproduce", *args)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert _is_clean(project)
    return done.stderr


def test_an_unknown_commit_is_refused(locked):
    assert "'no-such': no such commit" in _refused(locked, "no-such")


def test_a_commit_without_a_lock_is_refused_with_what_to_do(locked):
    told = _refused(locked, "HEAD~1")
    assert "has no dvc.lock, so nothing says what it made; 'merit run', then 'git add dvc.lock'" in told


def test_locks_that_are_not_as_committed_are_named(locked):
    _write(locked, "params.yaml", "seed: 7", "seed: 8")
    assert "params.yaml not as committed; commit, or name the commit" in _refused(locked)


def test_a_lock_that_is_none_is_refused(locked):
    (locked.folder / "dvc.lock").write_text("stages: 3\n", encoding="utf-8")
    locked.commit("broken")
    assert "not a lock of DVC's" in _refused(locked)


def test_other_packages_are_refused_by_name_and_taken_by_here(locked):
    (locked.folder / "requirements.lock").write_text("numpy==0.0.1  # patched\nnosuch-name==1.0\n", encoding="utf-8")
    locked.commit("packages", "requirements.lock")
    told = _refused(locked)
    assert "numpy" in told
    assert "not 0.0.1, nosuch-name none, not 1.0; 'git show " in told
    done = _with(locked, "reproduce", "--here", MACHINE="0.5")
    assert done.returncode == 1, done.stderr
    assert "packages: not those of" in done.stdout
    assert "\n  package nosuch-name none, not 1.0\n" in done.stdout


def test_a_stage_that_breaks_is_broken_and_leaves_nothing(locked):
    _write(locked, "train.py", "import os", "raise SystemExit(3)\nimport os")
    locked.commit("broken")
    done = locked.merit("reproduce")
    assert done.returncode == 2
    assert "stage 'train' failed with exit code 3" in done.stderr
    assert "fails now; see its error above" in done.stderr
    assert "Traceback" not in done.stderr
    assert _is_clean(locked)


def test_the_real_pipeline_is_reproduced_and_changed_data_is_named(project):
    project.commit("first champion", "dvc.lock", "params.yaml")
    done = project.merit("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 8 stages bit for bit" in done.stdout
    assert "commit" not in json.loads(project.read("model/manifest.json"))
    fingerprint = project.read("params.yaml").partition("fingerprint: ")[2].split()[0]
    _write(project, "params.yaml", fingerprint, "sha256:" + "1" * 64)
    project.commit("made for other data")
    done = project.merit("reproduce")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"nothing was computed: ingest: data.source: its files are {fingerprint}" in done.stdout
    assert sys.executable not in done.stdout
