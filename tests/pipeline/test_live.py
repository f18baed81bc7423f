"""The process that tells a run, for real, into a store of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.mlflow import store
from merit.tracking.run_logger import RunLogger

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EPOCH = {"epoch": 0.0, "train_loss": 0.7, "validation_loss": 0.6}


@pytest.fixture
def tracked(workdir: Path, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch) -> Lock:
    """A lock beside data and weights; where its runs go is a store that isn't there yet."""
    artifacts.write_text(artifacts.RAW, "raw")
    artifacts.write_text(artifacts.WEIGHTS, "w")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workdir}/mlflow.db")  # MLflow keeps one engine per address
    return make_lock(lambda values: values["tracking"].update(experiment="live"))


def _only_run(lock: Lock) -> Any:
    client: MlflowClient = store.open_store(lock.tracking)
    (found,) = client.search_runs([store.find_or_create_experiment(client, lock.tracking)])
    return found


def test_a_run_is_kept_as_its_block_ended(tracked: Lock) -> None:
    with RunLogger(tracked) as run:
        run.log_epoch(EPOCH)
    found = _only_run(tracked)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["train_loss"] == 0.7


@pytest.mark.parametrize(("error", "status"), [(MeritError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_block_that_ends_early_ends_the_run_so(tracked: Lock, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), RunLogger(tracked):
        raise error
    assert _only_run(tracked).info.status == status


def test_what_can_not_be_tracked_is_told_in_one_line(tracked: Lock) -> None:
    artifacts.RAW.unlink()
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: not found; 'merit ingest' makes it"), RunLogger(tracked):
        pass


def test_an_error_of_the_training_comes_before_one_of_the_tracking(tracked: Lock) -> None:
    artifacts.RAW.unlink()
    with pytest.raises(ZeroDivisionError), RunLogger(tracked):
        raise ZeroDivisionError


def test_the_run_of_a_training_that_was_killed_is_ended(tracked: Lock) -> None:
    locks.write_lock(tracked)
    code = (
        "import time; from merit.config import lock; from merit.tracking.run_logger import RunLogger\n"
        "run = RunLogger(lock.read_lock()); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as training:
        assert training.stdout is not None
        training.stdout.readline()
        os.killpg(training.pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while time.monotonic() < until and not _ended(tracked):
        time.sleep(0.2)
    assert _only_run(tracked).info.status == "KILLED"


def _ended(lock: Lock) -> bool:
    if not Path("mlflow.db").exists():
        return False
    client: MlflowClient = store.open_store(lock.tracking)
    found = client.search_runs([store.find_or_create_experiment(client, lock.tracking)])
    return bool(found) and found[0].info.status != "RUNNING"


def test_who_is_killed_while_the_store_is_made_hinders_no_other(tracked: Lock, workdir: Path) -> None:
    first = RunLogger(tracked)
    until = time.monotonic() + 60
    while not any((workdir / "mlflow.db.new").glob("mlflow.db")):
        assert time.monotonic() < until
        time.sleep(0.001)
    others = [RunLogger(tracked) for _ in range(2)]
    first._process.kill()
    first._process.communicate()  # closes what it was told by
    assert not (workdir / "mlflow.db").exists()
    for other in others:
        other.log_epoch(EPOCH)
    for other in others:
        other.__exit__(None, None, None)
    client: MlflowClient = store.open_store(tracked.tracking)
    found = client.search_runs([store.find_or_create_experiment(client, tracked.tracking)])
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]
