"""tracking: every training run, kept by MLflow, Weights & Biases or as CSV files.

`facts` is what a run is told of wherever it is kept; `runs`, `wandb` and `csv` each keep it; `live` tells it while
training goes on, `sweeps` a sweep and its trials. There is no way to train untracked.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from merit.config.schema import Lock, Tracking
from merit.mlflow import store

if TYPE_CHECKING:
    from merit.tracking.run_facts import Trial

CSV = Path("runs")
WANDB = Path("wandb")


class Run(Protocol):
    """A training run, from its first epoch to its end."""

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Keep an epoch's metrics, all in one go; `epoch` says which it is."""

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; a finished one is found again by its weights."""


class Tracker(Protocol):
    """A way to keep runs: a module that has these."""

    def begin(self, lock: Lock) -> Run:
        """Begin a run that already says what it is made of: parameters, the whole lock, commit, data, environment.

        Raises:
            MeritError: it can't be kept there.
        """

    def record(self, lock: Lock) -> str:
        """See that the run behind the current package holds all that is known of it; return its id.

        Finds the run by its weights. Where there is none, for the training came out of DVC's cache or what was kept
        is lost, it is written again from the files.
        """

    def begin_sweep(self, lock: Lock, name: str, about: dict[str, str]) -> str:
        """Return the id of the sweep's own run, begun or, if the sweep is resumed, begun again.

        Raises:
            MeritError: it can't be kept there.
        """

    def keep_trial(self, trial: "Trial", about: dict[str, str]) -> str:
        """Keep a trial that has ended as a run below its sweep's; return its id."""

    def end_sweep(self, lock: Lock, run: str, status: str) -> None:
        """End the sweep's own run as FINISHED, FAILED or KILLED."""


def tracker(tracking: Tracking) -> Tracker:
    """Return what conf/tracking chose to keep runs."""
    if tracking.to == "wandb":
        from merit.tracking import wandb

        return wandb
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv
    from merit.tracking import mlflow

    return mlflow


def check(tracking: Tracking) -> None:
    """Check that what keeps the runs answers, as far as that takes no more than moments.

    Raises:
        MeritError: it does not.
    """
    if tracking.to == "mlflow":
        store.check_server(tracking)


def place(tracking: Tracking) -> str:
    """Return where runs go, as a receipt notes it."""
    if tracking.to == "mlflow":
        return store.uri_of(tracking)
    return f"{tracking.to}:{tracking.mode or ''}:{tracking.experiment}"


def local(tracking: Tracking) -> Path | None:
    """Return the file or folder of this machine that holds the runs; None where a server does."""
    if tracking.to == "mlflow":
        return store.local_file(store.uri_of(tracking))
    if tracking.to == "csv":
        return CSV / tracking.experiment
    return WANDB if tracking.mode == "offline" else None


def told_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return what is known of the training that made weights of this SHA-256: `commit`, `dirty`, `processor`, ...

    Empty where nothing is, as with W&B, which is not told of machines.

    Raises:
        MeritError: what keeps the runs can't be asked.
    """
    if tracking.to == "mlflow":
        from merit.tracking import mlflow

        return mlflow.tags_of(tracking, weights)
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv.tags_of(tracking, weights)
    return {}
