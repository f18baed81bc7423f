"""What a run is told of, wherever it is kept: what it is made of, and what came of it."""

import csv
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock

ENVIRONMENT = Path("requirements.lock")
CPUINFO = Path("/proc/cpuinfo")
MOST_COLUMNS = 200
"""Columns whose declarations are parameters of a run."""
SECTIONS = {"seed", "data", "features", "model", "optimizer", "trainer"}


def name(lock: Lock) -> str:
    """Return what a run is called: its network and its commit."""
    return f"{lock.model.target.rpartition('.')[2]}-{(git.head() or 'none yet')[:7]}"


def made_of(lock: Lock) -> dict[str, str]:
    """Return the commit and the data of a run that begins now.

    Raises:
        MeritError: there is no data yet.
    """
    return {
        "commit": git.head() or "none yet",
        "dirty": str(git.is_dirty()).lower(),
        "data_sha256": artifacts.sha256(artifacts.require(artifacts.RAW, "ingest")),
        "data_fingerprint": lock.data.fingerprint,
    }


def machine() -> dict[str, str]:
    """Return what the last bits of trained weights depend on besides packages: Python, and the kind of processor."""
    return {
        "python": platform.python_version(),
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "instructions": os.environ.get("ATEN_CPU_CAPABILITY") or _instructions(),
    }


def _instructions() -> str:
    """Return the widest instructions that torch would use here, by the name that it has for them."""
    flags = set(_cpuinfo("flags").split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= flags else "default"


def _cpuinfo(key: str) -> str:
    """Return what Linux says of the first processor; empty elsewhere."""
    if not CPUINFO.is_file():
        return ""
    lines = (line.partition(":") for line in CPUINFO.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def parameters(lock: Lock) -> dict[str, Any]:
    """Return the sections that decide what is trained, each value under its dotted name; a list is one value.

    Of a wide table the columns are a count: the whole lock is kept beside, and no one compares runs by 20,000 names.
    """
    values = lock.model_dump(mode="json", by_alias=True, include=SECTIONS)
    if len(lock.data.columns) > MOST_COLUMNS:
        values["data"]["columns"] = f"{len(lock.data.columns)} columns, see {artifacts.LOCK}"
    return flat(values)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves under dotted names; a list is one leaf."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep that has ended, as a run is told of it.

    Attributes:
        number: its own.
        sweep: the sweep's name.
        parent: the id of the sweep's run.
        lock: what it was trained by.
        status: FINISHED, FAILED or KILLED.
        about: what else is known of it, as texts: its state, the error, what was swept.
        best: metrics of its best epoch, by their names.
        epochs: the metrics of each epoch.
        weights: the SHA-256 of its weights, if it was finished.
        began: seconds since 1970.
        ended: the same.
    """

    number: int
    sweep: str
    parent: str
    lock: Lock
    status: str
    about: dict[str, str]
    best: dict[str, float]
    epochs: list[dict[str, float]]
    weights: str | None
    began: float
    ended: float

    @property
    def name(self) -> str:
        """What its run is called."""
        return f"{self.sweep}-{self.number:04}"


STATUSES = {"done": "FINISHED", "pruned": "FINISHED", "killed": "KILLED"}


def trial(folder: Path, told: dict[str, Any], sweep: str, parent: str) -> Trial:
    """Return what the files in a trial's folder say, and what its trial.json says."""
    weights, history = folder / artifacts.WEIGHTS.name, folder / artifacts.HISTORY.name
    began = float(told.get("started") or 0)
    return Trial(
        number=int(told["number"]),
        sweep=sweep,
        parent=parent,
        lock=locks.parse((folder / artifacts.LOCK.name).read_text(encoding="utf-8"), artifacts.LOCK.name),
        status=STATUSES.get(told["state"], "FAILED"),
        about={"state": told["state"], **({"error": told["error"]} if told.get("error") else {}), **told["overrides"]},
        best={f"best_{name}": float(value) for name, value in told.get("values", {}).items()},
        epochs=epochs(history) if history.is_file() else [],
        weights=artifacts.sha256(weights) if weights.is_file() else None,
        began=began,
        ended=began + float(told.get("seconds") or 0),
    )


def epochs(history: Path = artifacts.HISTORY) -> list[dict[str, float]]:
    """Return the metrics of each epoch of a training, by default of that behind the current weights."""
    with artifacts.require(history, "train").open(encoding="utf-8") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def results() -> dict[str, float]:
    """Return what the model is worth on test rows: a metric that can't be taken is left out."""
    measured = artifacts.read_json(artifacts.METRICS, "evaluate")["candidate"]
    return {f"test_{key}": each["value"] for key, each in measured.items() if each["value"] is not None}
