"""tracking: logs every training run to MLflow, Weights & Biases or CSV files.

`run_facts` collects what is logged about a run, whatever the backend.
The backends are `mlflow`, `wandb` and `csv`.
`live` logs a training while it runs, `sweeps` a sweep and its trials. Untracked training is not possible.
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
        """Log an epoch's metrics in one call; the key `epoch` holds its number."""

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; a finished run is identified by the hash of its weights."""


class Tracker(Protocol):
    """The interface of a tracking backend: a module with these functions."""

    def begin(self, lock: Lock) -> Run:
        """Start a run, and log its inputs: parameters, the complete lock, commit, data hash and environment.

        Raises:
            MeritError: the backend can't store it.
        """

    def record(self, lock: Lock) -> str:
        """Complete the run of the current package with the package's digest and test metrics; return the run's id.

        The run is found by the hash of its weights. If there is none, because the training came from DVC's cache or
        the backend lost it, the run is restored from the files.
        """

    def begin_sweep(self, lock: Lock, name: str, about: dict[str, str]) -> str:
        """Start the sweep's own run, or reopen it if the sweep is resumed; return its id.

        Raises:
            MeritError: the backend can't store it.
        """

    def keep_trial(self, trial: "Trial", about: dict[str, str]) -> str:
        """Log an ended trial as a child of the sweep's run; return its run's id."""

    def end_sweep(self, lock: Lock, run: str, status: str) -> None:
        """End the sweep's own run as FINISHED, FAILED or KILLED."""


def tracker(tracking: Tracking) -> Tracker:
    """Return the backend that conf/tracking selects."""
    if tracking.to == "wandb":
        from merit.tracking import wandb

        return wandb
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv
    from merit.tracking import mlflow

    return mlflow


def check(tracking: Tracking) -> None:
    """Check quickly that the tracking server responds; other backends aren't checked.

    Raises:
        MeritError: the server doesn't respond.
    """
    if tracking.to == "mlflow":
        store.check_server(tracking)


def place(tracking: Tracking) -> str:
    """Return the location of runs as one text, as stored in receipts."""
    if tracking.to == "mlflow":
        return store.uri_of(tracking)
    return f"{tracking.to}:{tracking.mode or ''}:{tracking.experiment}"


def local(tracking: Tracking) -> Path | None:
    """Return the local file or folder that holds the runs; None if a server does."""
    if tracking.to == "mlflow":
        return store.local_file(store.uri_of(tracking))
    if tracking.to == "csv":
        return CSV / tracking.experiment
    return WANDB if tracking.mode == "offline" else None


def told_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the tags of the training run with these weights: `commit`, `dirty`, `processor` and so on.

    Args:
        tracking: the tracking settings.
        weights: SHA-256 of the weights.

    Returns:
        Tags by name; empty if no run is found, and always for W&B, to which machines are not reported.

    Raises:
        MeritError: the backend can't be queried.
    """
    if tracking.to == "mlflow":
        from merit.tracking import mlflow

        return mlflow.tags_of(tracking, weights)
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv.tags_of(tracking, weights)
    return {}
