"""Intervals of metrics whose values on each resample are known, so that bounds and counts are exact."""

from collections.abc import Callable, Mapping
from itertools import count as count_up
from math import isnan, nan
from typing import Any

import numpy as np
import pytest

from merit.metrics import Estimate, TaskMetrics, bootstrap, compare_models, estimate_intervals, prepare_metrics


class FunctionMetric:
    """A metric that is a function of the row weights."""

    higher_is_better = True

    def __init__(self, compute: Callable[[Any], float]) -> None:
        self.compute = compute

    def __call__(self, target: Any, prediction: Any, weights: Any) -> float:
        """Return the metric."""
        return self.compute(weights)


def _prepare(metrics: Mapping[str, Callable[[Any], float]], rows: int = 10) -> TaskMetrics:
    named = {name: FunctionMetric(compute) for name, compute in metrics.items()}
    return prepare_metrics("regression", np.zeros(rows), np.zeros(rows), named)


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.9, 5, 95), (0.5, 25, 75), (0.98, 1, 99)])
def test_an_interval_leaves_out_the_same_share_of_the_resamples_at_each_end(
    confidence: float, low: float, high: float
) -> None:
    calls = count_up()  # the resamples' values are 0 to 100 in some order, and the value on the sample is 101
    estimate = estimate_intervals(
        _prepare({"rising": lambda weights: float(next(calls))}), count=101, confidence=confidence, seed=1
    )["rising"]
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((101, low, high))


@pytest.mark.parametrize("block_weights", [1, 30, 10_000])
def test_each_resample_draws_as_many_rows_as_there_are_and_there_are_as_many_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, block_weights: int
) -> None:
    monkeypatch.setattr(bootstrap, "MAX_BLOCK_WEIGHTS", block_weights)
    drawn: list[Any] = []

    def record(weights: Any) -> float:
        drawn.append(weights.copy())
        return 0.0

    estimate_intervals(_prepare({"recorded": record}), count=50, confidence=0.9, seed=1)
    *resamples, sample = drawn
    assert len(resamples) == 50
    assert all(weights.sum() == 10 for weights in resamples)
    assert len({tuple(weights) for weights in resamples}) > 40
    assert sample.tolist() == [1.0] * 10


def test_a_metric_that_is_undefined_on_the_sample_has_no_interval() -> None:
    estimate = estimate_intervals(
        _prepare({"odd": lambda weights: nan if (weights == 1).all() else 0.5}), count=20, confidence=0.9, seed=1
    )["odd"]
    assert all(isnan(bound) for bound in (estimate.value, estimate.low, estimate.high))


def test_a_metric_that_is_undefined_on_every_resample_has_a_value_and_no_interval() -> None:
    estimate = estimate_intervals(
        _prepare({"odd": lambda weights: 0.5 if (weights == 1).all() else nan}), count=20, confidence=0.9, seed=1
    )["odd"]
    assert (estimate.value, isnan(estimate.low), isnan(estimate.high)) == (0.5, True, True)


def test_a_comparison_is_the_candidate_less_the_rival_on_the_sample_and_on_each_resample() -> None:
    candidate, rival = (
        _prepare({"first": lambda weights: 3 * weights[0]}),
        _prepare({"first": lambda weights: weights[0]}),
    )
    difference = compare_models(candidate, rival, ["first"], count=400, confidence=0.9, seed=1)["first"]
    alone = estimate_intervals(rival, count=400, confidence=0.9, seed=1)["first"]
    assert list(vars(difference).values()) == [2 * bound for bound in vars(alone).values()]


def test_an_undefined_bound_is_null_in_json() -> None:
    assert Estimate(0.5, nan, 0.75).as_json() == {"value": 0.5, "low": None, "high": 0.75}


def test_a_type_error_inside_a_metric_is_the_metrics_own() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        _prepare({"broken": lambda weights: weights[0] + None}).compute_point()
