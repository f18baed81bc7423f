"""The CSV tracking backend: a folder per run with `run.csv` (inputs and results) and `epochs.csv` (epoch metrics)."""

import csv
import io
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock, Tracking
from merit.console.findings import Finding
from merit.tracking import run_facts

NAME = "csv"
EXPERIMENT_IS_FOLDER = True
CSV_FOLDER = Path("runs")
RUN_CSV = "run.csv"
EPOCHS_CSV = "epochs.csv"


class CsvRun:
    """A training run in its own folder.

    Args:
        lock: the configuration.
        run_inputs: provenance of the run; None determines it from the working copy.
        extra_values: further values of run.csv.
    """

    def __init__(
        self,
        lock: Lock,
        run_inputs: dict[str, str] | None = None,
        extra_values: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        run_inputs = run_inputs or run_facts.collect_provenance(lock)
        self.id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.folder = CSV_FOLDER / lock.tracking.experiment / self.id
        artifacts.write_text(self.folder / artifacts.LOCK.name, locks.render_lock(lock))
        if run_facts.REQUIREMENTS_LOCK.is_file():
            artifacts.write_text(
                self.folder / run_facts.REQUIREMENTS_LOCK.name, run_facts.REQUIREMENTS_LOCK.read_text(encoding="utf-8")
            )
        values = {
            "id": self.id,
            "name": run_facts.build_run_name(lock),
            "status": "RUNNING",
            "began": _format_now(),
            **run_inputs,
            **extra_values,
        }
        _write_run_csv(self.folder, {**values, **run_facts.collect_parameters(lock)})

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Append a line to epochs.csv."""
        artifacts.append_epoch(self.folder / EPOCHS_CSV, metrics)

    def end(self, status: str) -> None:
        """Record the status and, for a finished run, the hash of the current weights."""
        self.record_end(status, artifacts.hash_file(artifacts.WEIGHTS) if status == "FINISHED" else None)

    def record_end(self, status: str, weights: str | None) -> None:
        """Record the status, the end and the SHA-256 of the weights."""
        hashes = {"weights_sha256": weights} if weights else {}
        _write_run_csv(self.folder, {**_read_run_csv(self.folder), "status": status, "ended": _format_now(), **hashes})


def start_run(lock: Lock) -> CsvRun:
    """Start a run."""
    return CsvRun(lock, run_facts.collect_provenance(lock) | run_facts.describe_machine())


def complete_run(lock: Lock) -> str:
    """Add the package's digest and test metrics to the run of the current weights; return the run's id."""
    folder = _find_current_run(lock) or _restore_run(lock)
    values, digest = _read_run_csv(folder), artifacts.hash_package(artifacts.PACKAGE)
    if values.get("package") != digest:
        _write_run_csv(folder, {**values, "package": digest, **run_facts.read_test_metrics()})
    return folder.name


def read_tags(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the values of the run whose weights have this SHA-256; empty if there is none."""
    folder = _find_run(tracking, weights)
    return {} if folder is None else _read_run_csv(folder)


def check_server(tracking: Tracking) -> None:
    """Check nothing: runs are local files."""


def diagnose_store(tracking: Tracking) -> Finding:
    """Return where the files are."""
    return Finding("tracking", "ok", f"CSV files in {find_local_path(tracking)}/")


def describe_location(tracking: Tracking) -> str:
    """Return the experiment."""
    return f"{NAME}::{tracking.experiment}"


def find_local_path(tracking: Tracking) -> Path:
    """Return the folder of the experiment's runs."""
    return CSV_FOLDER / tracking.experiment


def start_sweep(lock: Lock, name: str, run_inputs: dict[str, str]) -> str:
    """Start or reopen the sweep's own run, the parent of its trials' runs; return its id."""
    for folder in _list_run_folders(lock.tracking):
        values = _read_run_csv(folder)
        if values.get("sweep") == name and "parent" not in values:
            _write_run_csv(folder, {**values, "status": "RUNNING"})
            return folder.name
    return CsvRun(lock, run_inputs, {"name": name, "sweep": name}).id


def log_trial(trial: run_facts.LoggedTrial, run_inputs: dict[str, str]) -> str:
    """Log a trial as a run whose parent is the sweep's run; return its id."""
    for folder in _list_run_folders(trial.lock.tracking):
        values = _read_run_csv(folder)
        if values.get("parent") == trial.parent_run and values.get("trial") == str(trial.number) and "ended" in values:
            return folder.name  # logged already, by a sweep that was killed before it recorded that
    identity = {"name": trial.name, "sweep": trial.sweep, "parent": trial.parent_run, "trial": str(trial.number)}
    best_metrics = {name: str(value) for name, value in trial.best_metrics.items()}
    tags = {f"trial.{name}": value for name, value in trial.tags.items()}
    run = CsvRun(trial.lock, run_inputs, {**identity, **tags, **best_metrics})
    for epoch in trial.epochs:
        run.log_epoch(epoch)
    run.record_end(trial.status, trial.weights_sha256)
    return run.id


def end_sweep(lock: Lock, run: str, status: str) -> None:
    """End the sweep's own run."""
    folder = CSV_FOLDER / lock.tracking.experiment / run
    _write_run_csv(folder, {**_read_run_csv(folder), "status": status, "ended": _format_now()})


def _find_current_run(lock: Lock) -> Path | None:
    return _find_run(lock.tracking, artifacts.hash_file(artifacts.require_path(artifacts.WEIGHTS, "train")))


def _find_run(tracking: Tracking, weights: str) -> Path | None:
    matches = (
        folder for folder in _list_run_folders(tracking) if _read_run_csv(folder).get("weights_sha256") == weights
    )
    return next(matches, None)


def _list_run_folders(tracking: Tracking) -> Iterator[Path]:
    """Yield the folders of the experiment's runs, latest first."""
    yield from sorted((file.parent for file in (CSV_FOLDER / tracking.experiment).glob(f"*/{RUN_CSV}")), reverse=True)


def _restore_run(lock: Lock) -> Path:
    run = CsvRun(lock)
    for epoch in run_facts.read_epochs():
        run.log_epoch(epoch)
    run.end("FINISHED")
    return run.folder


def _write_run_csv(folder: Path, values: dict[str, Any]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "value"), *values.items()])
    artifacts.write_text(folder / RUN_CSV, text.getvalue())


def _read_run_csv(folder: Path) -> dict[str, str]:
    with (folder / RUN_CSV).open(newline="", encoding="utf-8") as handle:
        return {row["name"]: row["value"] for row in csv.DictReader(handle)}


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
