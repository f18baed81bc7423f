"""The interface of a tracking backend and of its runs."""

from pathlib import Path
from typing import Protocol

from merit.config.schema import Lock, Tracking
from merit.console.findings import Finding
from merit.tracking.run_facts import LoggedTrial


class Run(Protocol):
    """A training run, from its first epoch to its end."""

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Log an epoch's metrics in one call; the key `epoch` holds its number."""

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; a finished run is identified by the hash of its weights."""


class Tracker(Protocol):
    """A tracking backend: a module of this folder with these functions, and NAME, by which `tracking.to` selects it.

    It sets KEYS to the keys of conf/tracking that it needs and others refuse, HAS_REGISTRY if it also records model
    versions, and EXPERIMENT_IS_FOLDER if an experiment's name must be that of a folder. The module imports the
    backend's client library inside functions: some are called where it is not needed.
    """

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

    def log_trial(self, trial: LoggedTrial, run_inputs: dict[str, str]) -> str:
        """Log an ended trial as a child of the sweep's run; return its run's id."""

    def end_sweep(self, lock: Lock, run: str, status: str) -> None:
        """End the sweep's own run as FINISHED, FAILED or KILLED."""

    def read_tags(self, tracking: Tracking, weights: str) -> dict[str, str]:
        """Return the tags of the run whose weights have this SHA-256; empty if there is none, or runs have no tags.

        Raises:
            MeritError: the backend can't be queried.
        """

    def check_server(self, tracking: Tracking) -> None:
        """Check quickly, before anything is trained, that the server responds; without a server do nothing.

        Raises:
            MeritError: the server doesn't respond.
        """

    def diagnose_store(self, tracking: Tracking) -> Finding:
        """Return for `merit doctor` whether runs can be stored; write nothing."""

    def describe_location(self, tracking: Tracking) -> str:
        """Return the location of runs as one text, as stored in receipts."""

    def find_local_path(self, tracking: Tracking) -> Path | None:
        """Return the local file or folder that holds the runs; None if a server does."""
