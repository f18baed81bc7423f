"""Runs as CSV files: a folder per run, `run.csv` of what it is and came to, `epochs.csv` of how it went."""

import csv
import io
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock, Tracking
from merit.tracking import CSV, facts

ABOUT = "run.csv"
EPOCHS = "epochs.csv"


class CsvRun:
    """A training run in a folder of its own.

    Args:
        lock: the configuration.
        machine: what is told of the machine that trains.
    """

    def __init__(self, lock: Lock, machine: dict[str, str] | None = None) -> None:
        about = facts.made_of(lock) | (machine or {})
        self.id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.folder = CSV / lock.tracking.experiment / self.id
        artifacts.write_text(self.folder / artifacts.LOCK.name, locks.render(lock))
        if facts.ENVIRONMENT.is_file():
            artifacts.write_text(self.folder / facts.ENVIRONMENT.name, facts.ENVIRONMENT.read_text(encoding="utf-8"))
        told = {"id": self.id, "name": facts.name(lock), "status": "RUNNING", "began": _now(), **about}
        _write(self.folder, {**told, **facts.parameters(lock)})

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Add a line."""
        file = self.folder / EPOCHS
        is_new = not file.exists()
        with file.open("a", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(metrics), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow({**metrics, "epoch": int(metrics["epoch"])})

    def end(self, status: str) -> None:
        """Say how the run ended."""
        weights = {"weights_sha256": artifacts.sha256(artifacts.WEIGHTS)} if status == "FINISHED" else {}
        _write(self.folder, {**_read(self.folder), "status": status, "ended": _now(), **weights})


def begin(lock: Lock) -> CsvRun:
    """Begin a run."""
    return CsvRun(lock, facts.machine())


def record(lock: Lock) -> str:
    """See that the run of the current weights holds their package's digest and metrics; return its id."""
    folder = _of_the_weights(lock) or _restored(lock)
    about, digest = _read(folder), artifacts.package_digest(artifacts.PACKAGE)
    if about.get("package") != digest:
        _write(folder, {**about, "package": digest, **facts.results()})
    return folder.name


def tags_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return what is known of the training that made weights of this SHA-256; empty if nothing is."""
    folder = _of(tracking, weights)
    return {} if folder is None else _read(folder)


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
    for epoch in facts.epochs():
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
