import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from merit.gate.checks.model import size, times
from merit.gate.evidence import Evidence
from merit.gate.verdict import Verdict
from tests.unit.gate.conftest import run_family

Gated = Callable[..., Evidence]


@pytest.mark.parametrize(("package_bytes", "verdict"), [(1_000_000, Verdict.PASS), (1_000_001, Verdict.FAIL)])
def test_a_package_has_a_greatest_size(evidence: Evidence, package_bytes: int, verdict: Verdict) -> None:
    (found,) = run_family(size.FAMILY, replace(evidence, package_bytes=package_bytes))
    assert (found.verdict, found.found, found.allowed) == (verdict, "1.00 MB", "at most 1 MB")


@pytest.mark.parametrize(("time_ms", "verdict"), [(2.5, Verdict.PASS), (2.51, Verdict.FAIL)])
def test_a_prediction_may_take_its_limit(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, time_ms: float, verdict: Verdict
) -> None:
    monkeypatch.setattr(times, "measure_milliseconds", lambda *_: time_ms)
    assert times._check_time(evidence, rows=1, runs=1, limit_ms=2.5).verdict is verdict


def test_without_a_limit_no_time_is_taken(evidence: Evidence) -> None:
    assert run_family(times.FAMILY, evidence) == []


def test_a_row_and_a_batch_have_a_longest_time_each(evidence: Evidence, gated: Gated) -> None:
    found = run_family(times.FAMILY, gated(evidence, time={"row_ms": 1000, "batch_ms": 0.0001, "batch": 2000}))
    assert [(check.name, check.verdict) for check in found] == [
        ("time: one row", Verdict.PASS),
        ("time: 2,000 rows", Verdict.FAIL),
    ]
    assert found[1].found.endswith(" ms")


def test_what_else_a_machine_does_meanwhile_does_not_count() -> None:
    class Now:
        calls = 0

        def predict(self, columns: Any) -> None:
            self.calls += 1
            time.sleep(0.02 if self.calls % 4 else 0.0)  # three of four runs are disturbed

    class Then(Now):
        def predict(self, columns: Any) -> None:
            self.calls += 1
            time.sleep(0.02 if self.calls < 12 else 0.0)  # all of the first repeats are

    assert times.measure_milliseconds(Then(), {}, 5) < 10  # type: ignore[arg-type]
    assert times.measure_milliseconds(Now(), {}, 5) >= 20  # type: ignore[arg-type]
