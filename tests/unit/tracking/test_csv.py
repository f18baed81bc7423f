"""Runs as CSV files."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.tracking import describe_location, find_local_path, read_run_tags, run_facts, select_tracker

EPOCHS = [
    {"epoch": 0.0, "train_loss": 0.7, "validation_loss": 0.6},
    {"epoch": 1.0, "train_loss": 0.6, "validation_loss": 0.5},
]


@pytest.fixture
def tracked(workdir: Path, make_lock: Callable[..., Lock]) -> Lock:
    """A lock whose runs are CSV files, beside data and weights."""
    artifacts.write_text(artifacts.RAW, "raw")
    artifacts.write_text(artifacts.WEIGHTS, "w")

    def edit(values: dict[str, Any]) -> None:
        values["tracking"] = {"to": "csv", "experiment": "tiny"}

    return make_lock(edit)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _about(folder: Path) -> dict[str, str]:
    return {row["name"]: row["value"] for row in _rows(folder / "run.csv")}


def _only(lock: Lock) -> Path:
    (folder,) = Path("runs", lock.tracking.experiment).iterdir()
    return folder


def _finish(make_package: Callable[..., Path]) -> None:
    make_package(artifacts.PACKAGE)
    artifacts.write_json(artifacts.METRICS, {"candidate": {"roc_auc": {"value": 0.7}, "brier": {"value": None}}})
    lines = [",".join(EPOCHS[0]), *(",".join(map(str, epoch.values())) for epoch in EPOCHS)]
    artifacts.write_text(artifacts.HISTORY, "\n".join(lines) + "\n")


def test_a_finished_run_says_what_it_is_made_of_and_how_it_went(tracked: Lock) -> None:
    run = select_tracker(tracked.tracking).start_run(tracked)
    for epoch in EPOCHS:
        run.log_epoch(epoch)
    run.end("FINISHED")
    folder = _only(tracked)
    about = _about(folder)
    assert about["status"] == "FINISHED"
    assert about["optimizer.lr"] == "0.01"
    assert about["data_sha256"] == artifacts.hash_file(artifacts.RAW)
    assert about["data_fingerprint"] == tracked.data.fingerprint
    assert about["commit"] == "none yet"
    assert about.items() >= run_facts.describe_machine().items()
    assert read_run_tags(tracked.tracking, about["weights_sha256"]) == about
    assert read_run_tags(tracked.tracking, "0" * 64) == {}
    assert about["weights_sha256"] == artifacts.hash_file(artifacts.WEIGHTS)
    assert [row["validation_loss"] for row in _rows(folder / "epochs.csv")] == ["0.6", "0.5"]
    assert (folder / "params.yaml").read_text(encoding="utf-8") == locks.render_lock(tracked)


def test_a_run_that_failed_says_so_and_is_nobodys_weights(tracked: Lock) -> None:
    run = select_tracker(tracked.tracking).start_run(tracked)
    run.log_epoch(EPOCHS[0])
    run.end("FAILED")
    about = _about(_only(tracked))
    assert about["status"] == "FAILED"
    assert "weights_sha256" not in about


def test_the_run_of_the_weights_gets_their_package_once(tracked: Lock, make_package: Callable[..., Path]) -> None:
    kept = select_tracker(tracked.tracking)
    kept.start_run(tracked).end("FINISHED")
    _finish(make_package)
    assert [kept.complete_run(tracked) for _ in range(2)] == [_only(tracked).name] * 2
    about = _about(_only(tracked))
    assert about["package"] == artifacts.hash_package(artifacts.PACKAGE)
    assert about["test_roc_auc"] == "0.7"
    assert "test_brier" not in about


def test_a_run_that_was_lost_is_written_again_from_the_files(tracked: Lock, make_package: Callable[..., Path]) -> None:
    kept = select_tracker(tracked.tracking)
    kept.start_run(tracked).end("FINISHED")
    shutil.rmtree("runs")
    _finish(make_package)
    restored = kept.complete_run(tracked)
    assert restored == _only(tracked).name
    assert [row["epoch"] for row in _rows(_only(tracked) / "epochs.csv")] == ["0", "1"]


def test_without_data_no_run_is_begun(tracked: Lock) -> None:
    artifacts.RAW.unlink()
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: not found"):
        select_tracker(tracked.tracking).start_run(tracked)
    assert not Path("runs").exists()


def test_the_environment_of_a_run_stands_beside_it(tracked: Lock) -> None:
    run_facts.REQUIREMENTS_LOCK.write_text("a==1\n", encoding="utf-8")
    select_tracker(tracked.tracking).start_run(tracked)
    assert (_only(tracked) / "requirements.lock").read_text(encoding="utf-8") == "a==1\n"


def test_where_runs_go_is_told_for_each_way_to_keep_them(make_lock: Callable[..., Lock], lock: Lock) -> None:
    def of(**tracking: str) -> Any:
        return make_lock(lambda values: values.update(tracking={"experiment": "tiny", **tracking})).tracking

    assert (describe_location(lock.tracking), find_local_path(lock.tracking)) == (
        "sqlite:///mlflow.db",
        Path("mlflow.db"),
    )
    assert (describe_location(of(to="csv")), find_local_path(of(to="csv"))) == ("csv::tiny", Path("runs/tiny"))
    offline, online = of(to="wandb", mode="offline"), of(to="wandb", mode="online")
    assert (describe_location(offline), find_local_path(offline)) == ("wandb:offline:tiny", Path("wandb"))
    assert (describe_location(online), find_local_path(online)) == ("wandb:online:tiny", None)
