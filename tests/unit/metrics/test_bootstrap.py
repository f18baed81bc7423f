"""Intervals of metrics whose values on each resample are known, so that bounds and counts are exact."""

from collections.abc import Callable, Mapping
from itertools import count as count_up
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from scipy import stats

from merit.metrics import (
    Estimate,
    Resampling,
    TaskMetrics,
    bootstrap,
    compare_models,
    estimate_intervals,
    estimate_mean,
    prepare_metrics,
)
from merit.metrics.bootstrap import compute_seed_reach


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


@pytest.mark.parametrize(("confidence", "share"), [(0.9, 0.05), (0.5, 0.25), (0.98, 0.01)])
@pytest.mark.parametrize("rows", [2, 10, 4000])
def test_an_interval_leaves_out_the_same_share_of_the_resamples_at_each_end_and_less_of_few_rows(
    confidence: float, share: float, rows: int
) -> None:
    calls = count_up()  # the resamples' values are 0 to 100 in some order, and the value on the sample is 101
    estimate = estimate_intervals(
        _prepare({"rising": lambda weights: float(next(calls))}, rows), Resampling(101, confidence, 1)
    )["rising"]
    tail = 100 * stats.norm.cdf(stats.t.ppf(share, rows - 1) * (rows / (rows - 1)) ** 0.5)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((101, tail, 100 - tail))
    assert tail <= 100 * share


BLOCKS = np.array([0, 0, 0, 1, 2, 2, 1, 2, 2, 2])


@pytest.mark.parametrize("chunk_weights", [1, 10_000])
def test_rows_of_a_block_are_drawn_together(monkeypatch: pytest.MonkeyPatch, chunk_weights: int) -> None:
    monkeypatch.setattr(bootstrap, "MAX_CHUNK_WEIGHTS", chunk_weights)
    drawn: list[Any] = []
    estimate_intervals(
        _prepare({"recorded": lambda weights: float(drawn.append(weights.copy()) or 0)}),
        Resampling(40, 0.9, 1, BLOCKS),
    )
    for weights in drawn[:-1]:
        assert [len(set(weights[block == BLOCKS])) for block in range(3)] == [1, 1, 1]
        assert sum(weights[[0, 3, 4]]) == 3  # as many blocks as there are
    assert {weights[3] for weights in drawn} >= {0, 1, 2}


def test_models_whose_rows_are_in_another_order_are_compared_on_the_same_blocks() -> None:
    draw = np.random.default_rng(0)
    target, probability = draw.integers(0, 2, 60), draw.uniform(0, 1, 60)
    blocks = draw.permutation(np.repeat(np.arange(6), 10))
    mirrored = prepare_metrics("binary", 1 - target, 1 - probability)
    plain = prepare_metrics("binary", target, probability)
    difference = compare_models([plain], [mirrored], ["log_loss"], Resampling(50, 0.9, 1, blocks))["log_loss"]
    assert list(vars(difference).values()) == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_interval_of_rows_that_are_copies_of_one_another_is_that_of_the_blocks() -> None:
    draw = np.random.default_rng(3)
    blocks = np.repeat(np.arange(30), 50)
    target, predicted = draw.normal(0, 1, 30)[blocks], np.zeros(1500)
    copies = prepare_metrics("regression", target, predicted)
    originals = prepare_metrics("regression", target[::50], predicted[::50])
    by_block, alone = (
        estimate_intervals(*each)["mae"]
        for each in ((copies, Resampling(500, 0.9, 1, blocks)), (originals, Resampling(500, 0.9, 1)))
    )
    assert list(vars(by_block).values()) == pytest.approx(list(vars(alone).values()), rel=0.05)
    by_row = estimate_intervals(copies, Resampling(500, 0.9, 1))["mae"]
    assert 5 < (by_block.high - by_block.low) / (by_row.high - by_row.low) < 10  # the square root of 50


def test_of_one_block_there_is_no_interval() -> None:
    one = Resampling(20, 0.9, 1, np.zeros(10, dtype=int))
    estimate = estimate_intervals(_prepare({"first": lambda weights: weights[0]}), one)["first"]
    assert (estimate.value, isnan(estimate.low), isnan(estimate.high)) == (1.0, True, True)
    mean = estimate_mean(np.arange(10.0), one)
    assert (mean.value, isnan(mean.low), isnan(mean.high)) == (4.5, True, True)


@pytest.mark.parametrize("blocks", [None, BLOCKS])
def test_a_mean_has_students_interval_over_its_blocks(blocks: Any) -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 11])
    estimate = estimate_mean(values, Resampling(1, 0.9, 1, blocks))
    if blocks is None:
        low, high = stats.t.interval(0.9, 9, values.mean(), stats.sem(values))
    else:  # sums of the blocks' errors: 6, 11 and 39 less 3, 2 and 5 times the mean of 5.6
        error = (3 / 2 * (10.8**2 + 0.2**2 + 11.0**2)) ** 0.5 / 10
        low, high = stats.t.interval(0.9, 2, 5.6, error)
    assert list(vars(estimate).values()) == pytest.approx([5.6, low, high])


def test_the_rows_of_a_slice_have_the_blocks_that_occur_there() -> None:
    selected = Resampling(9, 0.9, 1, BLOCKS).select_rows(np.isin(np.arange(10), [0, 4, 9]))
    assert selected.blocks is not None
    assert (selected.blocks.tolist(), selected.count_units(3)) == ([0, 1, 1], 2)
    assert Resampling(9, 0.9, 1).select_rows(np.ones(4, dtype=bool)).count_units(4) == 4


def test_the_spread_of_seeds_widens_a_comparison_by_students_interval_of_a_difference_of_means() -> None:
    reach = compute_seed_reach([[0.40, 0.42, 0.44], [0.41, 0.43]], 0.9)
    pooled = (0.0008 + 0.0002) / 3
    assert reach == pytest.approx(stats.t.ppf(0.95, 3) * (pooled * (1 / 3 + 1 / 2)) ** 0.5)
    assert compute_seed_reach([[0.4], [0.5]], 0.9) == 0.0


def test_seeds_are_compared_by_their_means() -> None:
    seeds = [_prepare({"first": lambda weights, value=value: value}) for value in (0.1, 0.2, 0.6, 0.2)]
    difference = compare_models(seeds[:3], seeds[3:], ["first"], Resampling(20, 0.9, 1))["first"]
    reach = stats.t.ppf(0.95, 2) * (0.07 * (1 / 3 + 1)) ** 0.5
    assert list(vars(difference).values()) == pytest.approx([0.1, 0.1 - reach, 0.1 + reach])


@pytest.mark.parametrize("block_weights", [1, 30, 10_000])
def test_each_resample_draws_as_many_rows_as_there_are_and_there_are_as_many_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, block_weights: int
) -> None:
    monkeypatch.setattr(bootstrap, "MAX_CHUNK_WEIGHTS", block_weights)
    drawn: list[Any] = []

    def record(weights: Any) -> float:
        drawn.append(weights.copy())
        return 0.0

    estimate_intervals(_prepare({"recorded": record}), Resampling(50, 0.9, 1))
    *resamples, sample = drawn
    assert len(resamples) == 50
    assert all(weights.sum() == 10 for weights in resamples)
    assert len({tuple(weights) for weights in resamples}) > 40
    assert sample.tolist() == [1.0] * 10


def test_a_metric_that_is_undefined_on_the_sample_has_no_interval() -> None:
    estimate = estimate_intervals(
        _prepare({"odd": lambda weights: nan if (weights == 1).all() else 0.5}), Resampling(20, 0.9, 1)
    )["odd"]
    assert all(isnan(bound) for bound in (estimate.value, estimate.low, estimate.high))


def test_a_metric_that_is_undefined_on_every_resample_has_a_value_and_no_interval() -> None:
    estimate = estimate_intervals(
        _prepare({"odd": lambda weights: 0.5 if (weights == 1).all() else nan}), Resampling(20, 0.9, 1)
    )["odd"]
    assert (estimate.value, isnan(estimate.low), isnan(estimate.high)) == (0.5, True, True)


def test_a_comparison_is_the_candidate_less_the_rival_on_the_sample_and_on_each_resample() -> None:
    candidate, rival = (
        _prepare({"first": lambda weights: 3 * weights[0]}),
        _prepare({"first": lambda weights: weights[0]}),
    )
    difference = compare_models([candidate], [rival], ["first"], Resampling(400, 0.9, 1))["first"]
    alone = estimate_intervals(rival, Resampling(400, 0.9, 1))["first"]
    assert list(vars(difference).values()) == [2 * bound for bound in vars(alone).values()]


def test_an_undefined_bound_is_null_in_json() -> None:
    assert Estimate(0.5, nan, 0.75).as_json() == {"value": 0.5, "low": None, "high": 0.75}


def test_a_type_error_inside_a_metric_is_the_metrics_own() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        _prepare({"broken": lambda weights: weights[0] + None}).compute_point()


@pytest.mark.parametrize(
    ("task", "target", "prediction", "losses"),
    [
        (
            "binary",
            [1.0, 0.0, 0.0, 1.0],
            [0.2, 0.8, 0.1, 0.9],
            [-np.log(0.2), -np.log(0.2), -np.log(0.9), -np.log(0.9)],
        ),
        ("binary", [1.0], [0.0], [-np.log(1e-15)]),
        ("multiclass", [2, 0], [[0.1, 0.2, 0.7], [0.05, 0.9, 0.05]], [-np.log(0.7), -np.log(0.05)]),
        ("regression", [5.0, 1.0], [1.0, 1.5], [16.0, 0.25]),
    ],
)
def test_losses_are_in_the_order_of_the_rows_and_their_mean_is_the_metric(
    task: str, target: Any, prediction: Any, losses: list[float]
) -> None:
    metrics = prepare_metrics(task, np.array(target), np.array(prediction))
    assert metrics.compute_losses() == pytest.approx(losses)
    point = metrics.compute_point()
    assert np.mean(losses) == pytest.approx(point["rmse"] ** 2 if task == "regression" else point["log_loss"])
