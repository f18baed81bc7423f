"""tracking: logs every training run to MLflow, Weights & Biases or CSV files.

`run_facts` collects what is logged about a run, whatever the backend.
The backends are `mlflow`, `wandb` and `csv`.
`run_logger` logs a training while it runs, `sweep_logger` a sweep and its trials. Untracked training is not possible.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from merit.config.schema import Lock, Tracking
from merit.mlflow import store

if TYPE_CHECKING:
    from merit.tracking.run_facts import LoggedTrial

CSV_FOLDER = Path("runs")
WANDB_FOLDER = Path("wandb")


class Run(Protocol):
    """A training run, from its first epoch to its end."""

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Log an epoch's metrics in one call; the key `epoch` holds its number."""

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; a finished run is identified by the hash of its weights."""


class Tracker(Protocol):
    """The interface of a tracking backend: a module with these functions."""

    def start_run(self, lock: Lock) -> Run:
        """Start a run, and log its inputs: parameters, the complete lock, commit, data hash and environment.

        Raises:
            MeritError: the backend can't store it.
        """

    def complete_run(self, lock: Lock) -> str:
        """Complete the run of the current package with the package's digest and test metrics; return the run's id.

        The run is found by the hash of its weights. If there is none, because the training came from DVC's cache or
        the backend lost it, the run is restored from the files.
        """

    def start_sweep(self, lock: Lock, name: str, run_inputs: dict[str, str]) -> str:
        """Start the sweep's own run, or reopen it if the sweep is resumed; return its id.

        Raises:
            MeritError: the backend can't store it.
        """

    def log_trial(self, trial: "LoggedTrial", run_inputs: dict[str, str]) -> str:
        """Log an ended trial as a child of the sweep's run; return its run's id."""

    def end_sweep(self, lock: Lock, run: str, status: str) -> None:
        """End the sweep's own run as FINISHED, FAILED or KILLED."""


def select_tracker(tracking: Tracking) -> Tracker:
    """Return the backend that conf/tracking selects."""
    if tracking.to == "wandb":
        from merit.tracking import wandb

        return wandb
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv
    from merit.tracking import mlflow

    return mlflow


def check_tracking(tracking: Tracking) -> None:
    """Check quickly that the tracking server responds; other backends aren't checked.

    Raises:
        MeritError: the server doesn't respond.
    """
    if tracking.to == "mlflow":
        store.check_server(tracking)


def describe_location(tracking: Tracking) -> str:
    """Return the location of runs as one text, as stored in receipts."""
    if tracking.to == "mlflow":
        return store.resolve_uri(tracking)
    return f"{tracking.to}:{tracking.mode or ''}:{tracking.experiment}"


def find_local_path(tracking: Tracking) -> Path | None:
    """Return the local file or folder that holds the runs; None if a server does."""
    if tracking.to == "mlflow":
        return store.get_sqlite_file(store.resolve_uri(tracking))
    if tracking.to == "csv":
        return CSV_FOLDER / tracking.experiment
    return WANDB_FOLDER if tracking.mode == "offline" else None


def read_run_tags(tracking: Tracking, weights: str) -> dict[str, str]:
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

        return mlflow.read_tags(tracking, weights)
    if tracking.to == "csv":
        from merit.tracking import csv

        return csv.read_tags(tracking, weights)
    return {}
