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
from merit.tracking import CSV, run_facts

ABOUT = "run.csv"
EPOCHS = "epochs.csv"


class CsvRun:
    """A training run in its own folder.

    Args:
        lock: the configuration.
        about: provenance of the run; None determines it from the working copy.
        more: further values of run.csv.
    """

    def __init__(
        self, lock: Lock, about: dict[str, str] | None = None, more: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        about = about or run_facts.made_of(lock)
        self.id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.folder = CSV / lock.tracking.experiment / self.id
        artifacts.write_text(self.folder / artifacts.LOCK.name, locks.render(lock))
        if run_facts.ENVIRONMENT.is_file():
            artifacts.write_text(
                self.folder / run_facts.ENVIRONMENT.name, run_facts.ENVIRONMENT.read_text(encoding="utf-8")
            )
        told = {"id": self.id, "name": run_facts.name(lock), "status": "RUNNING", "began": _now(), **about, **more}
        _write(self.folder, {**told, **run_facts.parameters(lock)})

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Append a line to epochs.csv."""
        artifacts.add_epoch(self.folder / EPOCHS, metrics)

    def end(self, status: str) -> None:
        """Record the status and, for a finished run, the hash of the current weights."""
        self.close(status, artifacts.sha256(artifacts.WEIGHTS) if status == "FINISHED" else None)

    def close(self, status: str, weights: str | None) -> None:
        """Record the status, the end and the SHA-256 of the weights."""
        made = {"weights_sha256": weights} if weights else {}
        _write(self.folder, {**_read(self.folder), "status": status, "ended": _now(), **made})


def begin(lock: Lock) -> CsvRun:
    """Start a run."""
    return CsvRun(lock, run_facts.made_of(lock) | run_facts.machine())


def record(lock: Lock) -> str:
    """Add the package's digest and test metrics to the run of the current weights; return the run's id."""
    folder = _of_the_weights(lock) or _restored(lock)
    about, digest = _read(folder), artifacts.package_digest(artifacts.PACKAGE)
    if about.get("package") != digest:
        _write(folder, {**about, "package": digest, **run_facts.results()})
    return folder.name


def tags_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the values of the run whose weights have this SHA-256; empty if there is none."""
    folder = _of(tracking, weights)
    return {} if folder is None else _read(folder)


def begin_sweep(lock: Lock, name: str, about: dict[str, str]) -> str:
    """Start or reopen the sweep's own run, the parent of its trials' runs; return its id."""
    for folder in _folders(lock.tracking):
        known = _read(folder)
        if known.get("sweep") == name and "parent" not in known:
            _write(folder, {**known, "status": "RUNNING"})
            return folder.name
    return CsvRun(lock, about, {"name": name, "sweep": name}).id


def keep_trial(trial: run_facts.Trial, about: dict[str, str]) -> str:
    """Log a trial as a run whose parent is the sweep's run; return its id."""
    for folder in _folders(trial.lock.tracking):
        known = _read(folder)
        if known.get("parent") == trial.parent and known.get("trial") == str(trial.number) and "ended" in known:
            return folder.name  # logged already, by a sweep that was killed before it recorded that
    told = {"name": trial.name, "sweep": trial.sweep, "parent": trial.parent, "trial": str(trial.number)}
    best = {name: str(value) for name, value in trial.best.items()}
    swept = {f"trial.{name}": value for name, value in trial.about.items()}
    run = CsvRun(trial.lock, about, {**told, **swept, **best})
    for epoch in trial.epochs:
        run.log_epoch(epoch)
    run.close(trial.status, trial.weights)
    return run.id


def end_sweep(lock: Lock, run: str, status: str) -> None:
    """End the sweep's own run."""
    folder = CSV / lock.tracking.experiment / run
    _write(folder, {**_read(folder), "status": status, "ended": _now()})


def _of_the_weights(lock: Lock) -> Path | None:
    return _of(lock.tracking, artifacts.sha256(artifacts.require(artifacts.WEIGHTS, "train")))


def _of(tracking: Tracking, weights: str) -> Path | None:
    found = (folder for folder in _folders(tracking) if _read(folder).get("weights_sha256") == weights)
    return next(found, None)


def _folders(tracking: Tracking) -> Iterator[Path]:
    """Yield the folders of the experiment's runs, latest first."""
    yield from sorted((file.parent for file in (CSV / tracking.experiment).glob(f"*/{ABOUT}")), reverse=True)


def _restored(lock: Lock) -> Path:
    run = CsvRun(lock)
    for epoch in run_facts.epochs():
        run.log_epoch(epoch)
    run.end("FINISHED")
    return run.folder


def _write(folder: Path, values: dict[str, Any]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "value"), *values.items()])
    artifacts.write_text(folder / ABOUT, text.getvalue())


def _read(folder: Path) -> dict[str, str]:
    with (folder / ABOUT).open(newline="", encoding="utf-8") as handle:
        return {row["name"]: row["value"] for row in csv.DictReader(handle)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
