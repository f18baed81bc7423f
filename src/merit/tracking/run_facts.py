"""Collects what every tracking backend logs about a run: provenance, parameters, epochs and results."""

import csv
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock

REQUIREMENTS_LOCK = Path("requirements.lock")
CPUINFO = Path("/proc/cpuinfo")
MAX_LOGGED_COLUMNS = 200
"""Maximum number of columns whose declarations are logged as parameters of a run."""
LOGGED_SECTIONS = {"seed", "data", "features", "model", "optimizer", "trainer"}


def build_run_name(lock: Lock) -> str:
    """Return the name of a run: its network's class and its commit, such as `EmbeddingMLP-1a2b3c4`."""
    return f"{lock.model.target.rpartition('.')[2]}-{(git.get_head() or 'none yet')[:7]}"


def collect_provenance(lock: Lock) -> dict[str, str]:
    """Return the provenance of a run that starts now: its commit, and the hashes of its data.

    Raises:
        MeritError: there is no ingested data.
    """
    return {
        "commit": git.get_head() or "none yet",
        "dirty": str(git.is_dirty()).lower(),
        "data_sha256": artifacts.hash_file(artifacts.require_path(artifacts.RAW, "ingest")),
        "data_fingerprint": lock.data.fingerprint,
    }


def describe_machine() -> dict[str, str]:
    """Return what trained weights depend on, to the last bit, besides packages: Python and the kind of processor."""
    return {
        "python": platform.python_version(),
        "processor": _read_cpuinfo("model name") or platform.processor() or platform.machine(),
        "instructions": os.environ.get("ATEN_CPU_CAPABILITY") or _detect_instruction_set(),
    }


def _detect_instruction_set() -> str:
    """Return the widest CPU instruction set that torch would use here, by torch's name for it."""
    flags = set(_read_cpuinfo("flags").split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= flags else "default"


def _read_cpuinfo(key: str) -> str:
    """Return a value of the first processor in /proc/cpuinfo; empty if there is none."""
    if not CPUINFO.is_file():
        return ""
    lines = (line.partition(":") for line in CPUINFO.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def collect_parameters(lock: Lock) -> dict[str, Any]:
    """Return the sections of the lock that affect training, as values by dotted name; a list is one value.

    A wide table's columns are logged as their number only: the complete lock is logged too, and nobody compares runs by
    20,000 parameters.
    """
    values = lock.model_dump(mode="json", by_alias=True, include=LOGGED_SECTIONS)
    if len(lock.data.columns) > MAX_LOGGED_COLUMNS:
        values["data"]["columns"] = f"{len(lock.data.columns)} columns, see {artifacts.LOCK}"
    return flatten(values)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries into values by dotted name; a list is one value.

    Example:
        >>> flatten({"trainer": {"devices": 1}, "seed": 0})
        {'trainer.devices': 1, 'seed': 0}
    """
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


@dataclass(frozen=True)
class LoggedTrial:
    """An ended trial of a sweep, as it is logged as a run.

    Attributes:
        number: its number in the sweep.
        sweep: name of the sweep.
        parent_run: id of the sweep's run.
        lock: the lock that it was trained with.
        status: FINISHED, FAILED or KILLED.
        tags: further texts by name: its state, its error and its swept values.
        best_metrics: metrics of its best epoch by name.
        epochs: metrics of each epoch.
        weights_sha256: SHA-256 of its weights; None if it has none.
        started: start, in seconds since 1970.
        ended: end, in seconds since 1970.
    """

    number: int
    sweep: str
    parent_run: str
    lock: Lock
    status: str
    tags: dict[str, str]
    best_metrics: dict[str, float]
    epochs: list[dict[str, float]]
    weights_sha256: str | None
    started: float
    ended: float

    @property
    def name(self) -> str:
        """The name of its run."""
        return f"{self.sweep}-{self.number:04}"


RUN_STATUSES = {"done": "FINISHED", "pruned": "FINISHED", "killed": "KILLED"}


def read_trial(folder: Path, payload: dict[str, Any], sweep: str, parent_run: str) -> LoggedTrial:
    """Return a trial from the files in its folder and the content of its trial.json.

    Args:
        folder: the trial's folder.
        payload: content of its trial.json.
        sweep: name of the sweep.
        parent_run: id of the sweep's run.
    """
    weights, history = folder / artifacts.WEIGHTS.name, folder / artifacts.HISTORY.name
    started = float(payload.get("started") or 0)
    return LoggedTrial(
        number=int(payload["number"]),
        sweep=sweep,
        parent_run=parent_run,
        lock=locks.parse_lock((folder / artifacts.LOCK.name).read_text(encoding="utf-8"), artifacts.LOCK.name),
        status=RUN_STATUSES.get(payload["state"], "FAILED"),
        tags={
            "state": payload["state"],
            **({"error": payload["error"]} if payload.get("error") else {}),
            **payload["overrides"],
        },
        best_metrics={f"best_{name}": float(value) for name, value in payload.get("values", {}).items()},
        epochs=read_epochs(history) if history.is_file() else [],
        weights_sha256=artifacts.hash_file(weights) if weights.is_file() else None,
        started=started,
        ended=started + float(payload.get("seconds") or 0),
    )


def read_epochs(history: Path = artifacts.HISTORY) -> list[dict[str, float]]:
    """Return the metrics of each epoch of a training, by default of the one that produced the current weights."""
    with artifacts.require_path(history, "train").open(encoding="utf-8") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def read_test_metrics() -> dict[str, float]:
    """Return the candidate's metrics on test rows as `test_NAME`, without those that couldn't be computed."""
    metrics = artifacts.read_json(artifacts.METRICS, "evaluate")["candidate"]
    return {f"test_{key}": each["value"] for key, each in metrics.items() if each["value"] is not None}
