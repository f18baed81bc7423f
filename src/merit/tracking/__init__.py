"""tracking: logs every training run to MLflow, Weights & Biases or CSV files.

`run_facts` collects what is logged about a run, whatever the backend.
The backends are the files that set NAME: `mlflow`, `wandb` and `csv`; `interface` says what each offers.
`run_logger` logs a training while it runs, `sweep_logger` a sweep and its trials. Untracked training is not possible.
"""

from pathlib import Path
from typing import cast

from merit.config import extensions
from merit.config.schema import TRACKER_PACKAGE, Tracking
from merit.tracking.interface import Tracker


def select_tracker(tracking: Tracking) -> Tracker:
    """Return the backend that conf/tracking selects; only its module is imported."""
    return cast("Tracker", extensions.import_extension(TRACKER_PACKAGE, tracking.to))


def check_tracking(tracking: Tracking) -> None:
    """Check quickly that the backend's server responds, if it has one.

    Raises:
        MeritError: the server doesn't respond.
    """
    select_tracker(tracking).check_server(tracking)


def describe_location(tracking: Tracking) -> str:
    """Return the location of runs as one text, as stored in receipts."""
    return select_tracker(tracking).describe_location(tracking)


def find_local_path(tracking: Tracking) -> Path | None:
    """Return the local file or folder that holds the runs; None if a server does."""
    return select_tracker(tracking).find_local_path(tracking)


def read_run_tags(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the tags of the training run with these weights: `commit`, `dirty`, `processor` and so on.

    Args:
        tracking: the tracking settings.
        weights: SHA-256 of the weights.

    Returns:
        Tags by name; empty if no run is found.

    Raises:
        MeritError: the backend can't be queried.
    """
    return select_tracker(tracking).read_tags(tracking, weights)
