import os

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from merit.config.tasks import METRICS
from merit.metrics import BinaryMetrics, Estimate, Resampling, compare_models, estimate_intervals
from merit.metrics import bootstrap as metrics
from merit.metrics.calibration import BIN_COUNT

NAMES = tuple(METRICS["binary"])
Rows = tuple[NDArray[np.float64], NDArray[np.float64]]


def _rows(count: int, *, seed: int = 0, ties: bool = False) -> Rows:
    draw = np.random.default_rng(seed)
    probability = draw.uniform(0.06, 0.94, count)
    target = (draw.uniform(0, 1, count) < probability**2).astype(np.float64)
    return target, (np.round(probability, 1) if ties else probability)


REFERENCES = {
    "roc_auc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "log_loss": sklearn_metrics.log_loss,
    "brier": sklearn_metrics.brier_score_loss,
}


def _measured(target: NDArray[np.float64], probability: NDArray[np.float64], weights: NDArray[np.float64], name: str):
    scored = BinaryMetrics(target, probability)
    return scored.measure(weights[scored.order][None, :], [name])[name][0]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "tied"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", REFERENCES)
def test_each_metric_is_scikit_learns(name: str, weighted: bool, ties: bool) -> None:
    target, probability = _rows(500, ties=ties)
    # Counts of a resample: many rows are not drawn at all.
    weights = np.random.default_rng(1).integers(0, 3, 500).astype(float) if weighted else np.ones(500)
    expected = REFERENCES[name](target, probability, sample_weight=weights)
    assert _measured(target, probability, weights, name) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_value_on_the_rows_as_they_are_is_scikit_learns(name: str) -> None:
    target, probability = _rows(300)
    assert BinaryMetrics(target, probability).compute_point()[name] == pytest.approx(
        REFERENCES[name](target, probability)
    )


@pytest.mark.parametrize("name", METRICS["binary"])
def test_a_weight_is_the_same_as_the_row_so_often(name: str) -> None:
    target, probability = _rows(40)
    weights = np.full(40, 3.0)
    repeated = BinaryMetrics(np.repeat(target, 3), np.repeat(probability, 3)).compute_point()[name]
    assert _measured(target, probability, weights, name) == pytest.approx(repeated)


def test_probabilities_of_0_and_1_give_a_finite_loss() -> None:
    target, probability = np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 1.0, 0.0])
    assert BinaryMetrics(target, probability).compute_point()["log_loss"] == pytest.approx(-np.log(1e-15) / 2, rel=1e-3)


def test_all_rows_with_one_probability_rank_as_chance() -> None:
    target = np.array([0, 1, 1, 0, 1])
    measured = BinaryMetrics(target, np.full(5, 0.3)).compute_point()
    assert measured["roc_auc"] == 0.5
    assert measured["average_precision"] == pytest.approx(0.6)


def test_whole_numbers_of_any_type_are_taken_as_the_target() -> None:
    target, probability = _rows(100)
    expected = BinaryMetrics(target, probability).compute_point()
    assert BinaryMetrics(target.astype(np.int8), probability).compute_point() == expected
    assert BinaryMetrics(target.astype(bool), probability).compute_point() == expected


def _plain_calibration_error(target: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    order = sorted(range(len(target)), key=lambda i: -probability[i])
    total = 0.0
    for place in range(BIN_COUNT):
        inside = order[int(len(order) * place / BIN_COUNT) : int(len(order) * (place + 1) / BIN_COUNT)]
        if inside:
            gap = sum(target[i] for i in inside) / len(inside) - sum(probability[i] for i in inside) / len(inside)
            total += abs(gap) * len(inside) / len(order)
    return total


@pytest.mark.parametrize("count", [2, 7, 10, 95, 500, 1003])
def test_the_calibration_error_is_that_of_a_plain_loop_over_bins(count: int) -> None:
    target, probability = _rows(count, seed=3)
    found = BinaryMetrics(target, probability).compute_point()["calibration_error"]
    assert found == pytest.approx(_plain_calibration_error(target, probability), abs=1e-12)


def test_a_calibrated_model_has_less_calibration_error_than_a_shifted_one() -> None:
    draw = np.random.default_rng(0)
    probability = draw.uniform(0.2, 0.7, 20_000)
    target = (draw.uniform(0, 1, 20_000) < probability).astype(float)
    assert BinaryMetrics(target, probability).compute_point()["calibration_error"] < 0.02
    assert BinaryMetrics(target, probability + 0.2).compute_point()["calibration_error"] == pytest.approx(0.2, abs=0.02)


def test_the_bins_of_the_calibration_curve_hold_all_rows_from_low_to_high() -> None:
    target, probability = _rows(103)
    bins = BinaryMetrics(target, probability).compute_calibration()
    assert [rows for _, _, rows in bins].count(10) == 7
    assert sum(rows for _, _, rows in bins) == 103
    assert [mean for mean, _, _ in bins] == sorted(mean for mean, _, _ in bins)
    assert sum(share * rows for _, share, rows in bins) == pytest.approx(target.sum())
    assert sum(mean * rows for mean, _, rows in bins) == pytest.approx(probability.sum())


def _width(found: Estimate) -> float:
    return found.high - found.low


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_an_interval_holds_its_value_and_narrows_with_rows(name: str) -> None:
    few = estimate_intervals(BinaryMetrics(*_rows(200)), Resampling(300, 0.95, 1))[name]
    many = estimate_intervals(BinaryMetrics(*_rows(20_000)), Resampling(300, 0.95, 1))[name]
    assert few.low < few.value < few.high
    assert many.low < many.value < many.high
    # A hundred times the rows: about a tenth of the width.
    assert 0.04 < _width(many) / _width(few) < 0.25


def test_an_interval_widens_with_confidence() -> None:
    scored = BinaryMetrics(*_rows(500))
    narrow, wide = (estimate_intervals(scored, Resampling(300, c, 1))["roc_auc"] for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # The expected Brier score of a calibrated model whose probabilities are uniform is E[p(1-p)] = 1/6.
    hits = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        probability = draw.uniform(0, 1, 200)
        target = (draw.uniform(0, 1, 200) < probability).astype(float)
        found = estimate_intervals(BinaryMetrics(target, probability), Resampling(200, 0.8, seed))["brier"]
        hits += found.low <= 1 / 6 <= found.high
    assert 68 <= hits <= 92


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    scored = BinaryMetrics(*_rows(300))
    first, again, other = (estimate_intervals(scored, Resampling(200, 0.95, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["roc_auc"].low != other["roc_auc"].low
    assert first["roc_auc"].value == other["roc_auc"].value


@pytest.mark.parametrize("processors", [1, 2, 7, None])
def test_the_number_of_processors_changes_nothing(monkeypatch: pytest.MonkeyPatch, processors: int | None) -> None:
    monkeypatch.setattr(metrics, "MAX_CHUNK_WEIGHTS", 1000)  # many blocks
    ours, theirs = BinaryMetrics(*_rows(150)), BinaryMetrics(_rows(150)[0], _rows(150, seed=9)[1])
    expected = (
        estimate_intervals(ours, Resampling(120, 0.9, 5)),
        compare_models([ours], [theirs], NAMES, Resampling(120, 0.9, 5)),
    )
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    found = (
        estimate_intervals(ours, Resampling(120, 0.9, 5)),
        compare_models([ours], [theirs], NAMES, Resampling(120, 0.9, 5)),
    )
    assert found == expected


def test_a_model_compared_with_itself_is_exactly_0() -> None:
    scored = BinaryMetrics(*_rows(400, ties=True))
    for found in compare_models([scored], [scored], NAMES, Resampling(150, 0.95, 1)).values():
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_comparison_is_over_the_same_resamples_of_the_same_rows() -> None:
    target, probability = _rows(300)
    rival = np.clip(probability + np.random.default_rng(8).normal(0, 0.02, 300), 0, 1)
    ours, theirs = BinaryMetrics(target, probability), BinaryMetrics(target, rival)
    paired = compare_models([ours], [theirs], NAMES, Resampling(300, 0.95, 1))["log_loss"]
    alone = estimate_intervals(ours, Resampling(300, 0.95, 1))["log_loss"]
    assert paired.value == pytest.approx(ours.compute_point()["log_loss"] - theirs.compute_point()["log_loss"])
    assert paired.low <= paired.value <= paired.high
    assert _width(paired) < _width(alone) / 3


def test_a_comparison_gives_each_rival_its_own_order_of_the_rows() -> None:
    # Both models hold the same pairs of target and probability in another order of rows: equal as a whole, unequal
    # on nearly every resample. An interval of 0 would mean that both were resampled in their own order.
    target, probability = _rows(200)
    shuffled = np.empty(200)
    for value in (0.0, 1.0):
        places = np.flatnonzero(target == value)
        shuffled[places] = probability[np.random.default_rng(4).permutation(places)]
    found = compare_models(
        [BinaryMetrics(target, probability)], [BinaryMetrics(target, shuffled)], NAMES, Resampling(200, 0.95, 1)
    )["brier"]
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert found.low < -0.001 < 0.001 < found.high


def test_the_order_of_a_comparison_turns_its_sign() -> None:
    target, probability = _rows(2000)
    worse = 0.5 * probability + 0.5 * np.random.default_rng(2).uniform(0, 1, 2000)
    ours, theirs = BinaryMetrics(target, probability), BinaryMetrics(target, worse)
    better = compare_models([ours], [theirs], NAMES, Resampling(150, 0.95, 1))["roc_auc"]
    assert 0 < better.low < better.value < better.high
    back = compare_models([theirs], [ours], NAMES, Resampling(150, 0.95, 1))["roc_auc"]
    assert back.low < back.value < back.high < 0


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_with_one_class_ranking_has_no_meaning_and_is_nan(label: float) -> None:
    scored = BinaryMetrics(np.full(50, label), np.random.default_rng(0).uniform(0.1, 0.9, 50))
    found = estimate_intervals(scored, Resampling(100, 0.95, 1))
    assert np.isnan([found["roc_auc"].value, found["roc_auc"].low, found["roc_auc"].high]).all()
    assert np.isfinite([found["log_loss"].value, found["log_loss"].low, found["log_loss"].high]).all()
    if label == 0.0:
        assert np.isnan(found["average_precision"].value)


def test_resamples_without_one_class_are_left_out_of_the_interval() -> None:
    target = np.array([1.0] + [0.0] * 9)  # a third of all resamples hold no positive
    found = estimate_intervals(BinaryMetrics(target, np.linspace(0.9, 0.1, 10)), Resampling(300, 0.9, 1))["roc_auc"]
    assert found.value == 1.0
    assert (found.low, found.high) == (1.0, 1.0)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_model_that_gives_no_probability_has_no_metric(hole: float) -> None:
    probability = np.full(50, 0.5)
    probability[3] = hole
    assert all(np.isnan(value) for value in BinaryMetrics(np.arange(50) % 2, probability).compute_point().values())


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_the_curves_are_those_of_scikit_learn(decimals: int) -> None:
    draw = np.random.default_rng(7)
    target = (draw.random(500) < 0.2).astype(float)
    probability = np.round(0.6 * draw.random(500) + 0.2 * target, decimals)
    false_positive, recall, precision = BinaryMetrics(target, probability).compute_curve()
    rates = sklearn_metrics.roc_curve(target, probability, drop_intermediate=False)[:2]
    assert np.array_equal([false_positive, recall], rates)
    precisions, recalls, _thresholds = sklearn_metrics.precision_recall_curve(target, probability)
    assert np.array_equal([recall, precision], [recalls[::-1], precisions[::-1]])
