"""Cost checks: the package's size, and its prediction time in ONNX Runtime."""

import statistics
import time

import numpy as np

from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.scoring.package import Columns, Package

REPEATS, ROWS_RUNS, BATCH_RUNS = 5, 50, 5
"""A time is the best of REPEATS medians, each of ROWS_RUNS or BATCH_RUNS runs, since other load slows some."""


def size(evidence: Evidence) -> Check:
    """Check the size of the package against its limit."""
    found, limit = evidence.bytes / 1e6, evidence.lock.gate.size_mb
    verdict = Verdict.PASS if found <= limit else Verdict.FAIL
    return Check("size", verdict, f"{found:.2f} MB", f"at most {limit:g} MB", "make the network smaller")


def times(evidence: Evidence) -> list[Check]:
    """Check the prediction time of one row and of a batch; without `gate.time` there are no checks."""
    rule = evidence.lock.gate.time
    if rule is None:
        return []
    rows = evidence.rows.height
    batch = {name: values[np.arange(rule.batch) % rows] for name, values in evidence.columns.items()}
    one = {name: values[:1] for name, values in evidence.columns.items()}
    return [
        _time("time: one row", milliseconds(evidence.package, one, ROWS_RUNS), rule.row_ms),
        _time(f"time: {rule.batch:,} rows", milliseconds(evidence.package, batch, BATCH_RUNS), rule.batch_ms),
    ]


def milliseconds(package: Package, columns: Columns, runs: int) -> float:
    """Return the time of a prediction in milliseconds: the median of `runs`, the best of several such medians."""
    package.predict(columns)  # warm-up
    return min(statistics.median(_once(package, columns) for _ in range(runs)) for _ in range(REPEATS))


def _once(package: Package, columns: Columns) -> float:
    began = time.perf_counter()
    package.predict(columns)
    return 1000 * (time.perf_counter() - began)


def _time(name: str, found: float, limit: float) -> Check:
    verdict = Verdict.PASS if found <= limit else Verdict.FAIL
    advice = "make the network smaller, or raise gate.time if this machine is slower than what serves"
    return Check(name, verdict, f"{found:.2f} ms", f"at most {limit:g} ms", advice)
