"""What a run is told of, wherever it is kept: what it is made of, and what came of it."""

import csv
import os
import platform
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.config.schema import Lock

ENVIRONMENT = Path("requirements.lock")
CPUINFO = Path("/proc/cpuinfo")
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
    """Return the sections that decide what is trained, each value under its dotted name; a list is one value."""
    return flat(lock.model_dump(mode="json", by_alias=True, include=SECTIONS))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves under dotted names; a list is one leaf."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def epochs() -> list[dict[str, float]]:
    """Return the metrics of each epoch of the training behind the current weights."""
    with artifacts.require(artifacts.HISTORY, "train").open(encoding="utf-8") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def results() -> dict[str, float]:
    """Return what the model is worth on test rows: a metric that can't be taken is left out."""
    measured = artifacts.read_json(artifacts.METRICS, "evaluate")["candidate"]
    return {f"test_{key}": each["value"] for key, each in measured.items() if each["value"] is not None}
