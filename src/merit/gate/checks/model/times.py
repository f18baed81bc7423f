"""Time checks: how long the package takes to predict in ONNX Runtime, without any load of other checks."""

import statistics
import time
from functools import partial

import numpy as np

from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict
from merit.scoring.package import Columns, Package

MEDIAN_COUNT, ROW_RUNS, BATCH_RUNS = 5, 50, 5
"""A time is the best of MEDIAN_COUNT medians, each of ROW_RUNS or BATCH_RUNS runs, since other load slows some."""


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the checks of one row and of a batch; without `gate.time` there are none."""
    rule = evidence.lock.gate.time
    if rule is None:
        return {}
    return {
        "time: one row": partial(_check_time, rows=1, runs=ROW_RUNS, limit_ms=rule.row_ms),
        f"time: {rule.batch:,} rows": partial(_check_time, rows=rule.batch, runs=BATCH_RUNS, limit_ms=rule.batch_ms),
    }


def measure_milliseconds(package: Package, columns: Columns, runs: int) -> float:
    """Return the time of a prediction in milliseconds: the median of `runs`, the best of several such medians."""
    package.predict(columns)  # warm-up
    return min(statistics.median(_time_prediction(package, columns) for _ in range(runs)) for _ in range(MEDIAN_COUNT))


def _time_prediction(package: Package, columns: Columns) -> float:
    started = time.perf_counter()
    package.predict(columns)
    return 1000 * (time.perf_counter() - started)


def _check_time(evidence: Evidence, *, rows: int, runs: int, limit_ms: float) -> CheckResult:
    columns = {name: values[np.arange(rows) % len(values)] for name, values in evidence.columns.items()}
    time_ms = measure_milliseconds(evidence.package, columns, runs)
    verdict = Verdict.PASS if time_ms <= limit_ms else Verdict.FAIL
    advice = "make the network smaller, or raise gate.time if this machine is slower than what serves"
    return CheckResult("", verdict, f"{time_ms:.2f} ms", f"at most {limit_ms:g} ms", advice)


NAME = "time"
FAMILY = CheckFamily(200, build_checks, phase="measuring prediction times", schedule="first")
