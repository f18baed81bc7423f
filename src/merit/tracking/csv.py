"""Runs as CSV files: a folder per run, `run.csv` of what it is and came to, `epochs.csv` of how it went."""

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
    """A training run in a folder of its own.

    Args:
        lock: the configuration.
        about: what it is made of, if that is known.
        more: what else is to be told of it.
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
        """Add a line."""
        artifacts.add_epoch(self.folder / EPOCHS, metrics)

    def end(self, status: str) -> None:
        """Say how the run ended."""
        self.close(status, artifacts.sha256(artifacts.WEIGHTS) if status == "FINISHED" else None)

    def close(self, status: str, weights: str | None) -> None:
        """Say how the run ended, and which weights it made, by their SHA-256."""
        made = {"weights_sha256": weights} if weights else {}
        _write(self.folder, {**_read(self.folder), "status": status, "ended": _now(), **made})


def begin(lock: Lock) -> CsvRun:
    """Begin a run."""
    return CsvRun(lock, run_facts.made_of(lock) | run_facts.machine())


def record(lock: Lock) -> str:
    """See that the run of the current weights holds their package's digest and metrics; return its id."""
    folder = _of_the_weights(lock) or _restored(lock)
    about, digest = _read(folder), artifacts.package_digest(artifacts.PACKAGE)
    if about.get("package") != digest:
        _write(folder, {**about, "package": digest, **run_facts.results()})
    return folder.name


def tags_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return what is known of the training that made weights of this SHA-256; empty if nothing is."""
    folder = _of(tracking, weights)
    return {} if folder is None else _read(folder)


def begin_sweep(lock: Lock, name: str, about: dict[str, str]) -> str:
    """Return the id of the sweep's own run, which its trials name as their parent."""
    for folder in _folders(lock.tracking):
        known = _read(folder)
        if known.get("sweep") == name and "parent" not in known:
            _write(folder, {**known, "status": "RUNNING"})
            return folder.name
    return CsvRun(lock, about, {"name": name, "sweep": name}).id


def keep_trial(trial: run_facts.Trial, about: dict[str, str]) -> str:
    """Keep a trial as a run that names its sweep's as its parent."""
    for folder in _folders(trial.lock.tracking):
        known = _read(folder)
        if known.get("parent") == trial.parent and known.get("trial") == str(trial.number) and "ended" in known:
            return folder.name  # told already, by a sweep that was killed before it could note so
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
    """Yield the folders of the experiment's runs, the latest first."""
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
