"""Runs that something else than MLflow keeps: the same path, and no version but Git's."""

import csv
import json
from pathlib import Path

import pytest
from tests.support.small_project import Project

from merit import artifacts


def _about(folder: Path) -> dict[str, str]:
    with (folder / "run.csv").open(newline="", encoding="utf-8") as handle:
        return {row["name"]: row["value"] for row in csv.DictReader(handle)}


def _receipt(project: Project) -> dict[str, str]:
    return json.loads(project.read("reports/registration.json"))


def test_runs_as_csv_files_hold_what_is_known_of_the_package(project):
    done = project.merit("run", "tracking=csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flights; MLflow doesn't keep these runs" in done.stdout
    receipt = _receipt(project)
    assert (receipt["uri"], receipt["version"]) == ("csv::flights", None)
    folder = project.folder / "runs/flights" / receipt["run_id"]
    about = _about(folder)
    assert about["package"] == artifacts.hash_package(project.folder / "model")
    assert len((folder / "epochs.csv").read_text(encoding="utf-8").splitlines()) == 3

    again = project.merit("run", "tracking=csv")
    assert again.returncode == 0
    assert _receipt(project) == receipt
    assert [each.name for each in folder.parent.iterdir()] == [receipt["run_id"]]

    assert project.merit("train").returncode == 0
    (trained,) = [each for each in folder.parent.iterdir() if each != folder]
    assert _about(trained)["status"] == "FINISHED"
    assert _about(trained)["weights_sha256"] == about["weights_sha256"]
    assert (trained / "epochs.csv").read_bytes() == (folder / "epochs.csv").read_bytes()


@pytest.fixture
def offline(project: Project) -> Project:
    """A finished project whose runs W&B is to keep."""
    pytest.importorskip("wandb", reason="wandb is not installed; 'pip install merit-ml[wandb]'")
    return project


def test_weights_and_biases_keeps_runs_offline(offline):
    done = offline.merit("run", "tracking=wandb")
    assert done.returncode == 0, done.stdout + done.stderr
    receipt = _receipt(offline)
    assert (receipt["uri"], receipt["version"]) == ("wandb:offline:flights", None)
    training, package = sorted((offline.folder / "wandb").glob("offline-run-*"), key=lambda each: each.stat().st_ctime)
    assert training.name.endswith(receipt["run_id"])
    assert "optimizer" in (training / "files/params.yaml").read_text(encoding="utf-8")
    (kept,) = training.glob("*.wandb")
    assert b"validation_roc_auc" in kept.read_bytes()
    (kept,) = package.glob("*.wandb")
    assert artifacts.hash_package(offline.folder / "model").encode() in kept.read_bytes()

    assert offline.merit("run", "tracking=wandb").returncode == 0
    assert offline.merit("train").returncode == 0
    assert len(list((offline.folder / "wandb").glob("offline-run-*"))) == 3


def test_weights_and_biases_online_without_a_key_is_one_line(offline):
    assert offline.merit("compose", "tracking=wandb", "tracking.mode=online").returncode == 0
    done = offline.merit("train")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: tracking.mode 'online': W&B can't be used (")
    assert "Traceback" not in done.stderr
