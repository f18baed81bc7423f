"""Cost checks: the package's size, and its prediction time in ONNX Runtime."""

import statistics
import time

import numpy as np

from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.scoring.package import Columns, Package

MEDIAN_COUNT, ROW_RUNS, BATCH_RUNS = 5, 50, 5
"""A time is the best of MEDIAN_COUNT medians, each of ROW_RUNS or BATCH_RUNS runs, since other load slows some."""


def check_size(evidence: Evidence) -> Check:
    """Check the size of the package against its limit."""
    size_mb, limit_mb = evidence.package_bytes / 1e6, evidence.lock.gate.size_mb
    verdict = Verdict.PASS if size_mb <= limit_mb else Verdict.FAIL
    return Check("size", verdict, f"{size_mb:.2f} MB", f"at most {limit_mb:g} MB", "make the network smaller")


def check_times(evidence: Evidence) -> list[Check]:
    """Check the prediction time of one row and of a batch; without `gate.time` there are no checks."""
    rule = evidence.lock.gate.time
    if rule is None:
        return []
    rows = evidence.rows.height
    batch = {name: values[np.arange(rule.batch) % rows] for name, values in evidence.columns.items()}
    one = {name: values[:1] for name, values in evidence.columns.items()}
    return [
        _check_time("time: one row", measure_milliseconds(evidence.package, one, ROW_RUNS), rule.row_ms),
        _check_time(
            f"time: {rule.batch:,} rows", measure_milliseconds(evidence.package, batch, BATCH_RUNS), rule.batch_ms
        ),
    ]


def measure_milliseconds(package: Package, columns: Columns, runs: int) -> float:
    """Return the time of a prediction in milliseconds: the median of `runs`, the best of several such medians."""
    package.predict(columns)  # warm-up
    return min(statistics.median(_time_prediction(package, columns) for _ in range(runs)) for _ in range(MEDIAN_COUNT))


def _time_prediction(package: Package, columns: Columns) -> float:
    started = time.perf_counter()
    package.predict(columns)
    return 1000 * (time.perf_counter() - started)


def _check_time(name: str, time_ms: float, limit_ms: float) -> Check:
    verdict = Verdict.PASS if time_ms <= limit_ms else Verdict.FAIL
    advice = "make the network smaller, or raise gate.time if this machine is slower than what serves"
    return Check(name, verdict, f"{time_ms:.2f} ms", f"at most {limit_ms:g} ms", advice)
