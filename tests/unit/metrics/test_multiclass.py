import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from merit.config.tasks import METRICS
from merit.metrics import MulticlassMetrics, Resampling, compare_models, estimate_intervals, prepare_metrics

Rows = tuple[NDArray[np.int64], NDArray[np.float64]]


def _rows(count: int, *, seed: int = 0, classes: int = 4) -> Rows:
    draw = np.random.default_rng(seed)
    target = draw.integers(0, classes, count)
    scores = draw.normal(0, 1, (count, classes)) + 1.5 * np.eye(classes)[target]
    probabilities = np.exp(scores)
    return target, probabilities / probabilities.sum(axis=1, keepdims=True)


def _measured(rows: Rows, weights: NDArray[np.float64]) -> dict[str, float]:
    made = MulticlassMetrics(*rows)
    found = made.measure(weights[made.order][None, :], tuple(METRICS["multiclass"]))
    return {name: float(values[0]) for name, values in found.items()}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_each_metric_is_scikit_learns(weighted: bool) -> None:
    target, probabilities = rows = _rows(500)
    weights = np.random.default_rng(1).integers(0, 3, 500).astype(float) if weighted else np.ones(500)
    found, guess = _measured(rows, weights), probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(target, guess, sample_weight=weights))
    f1 = sklearn_metrics.f1_score(target, guess, average="macro", sample_weight=weights)
    assert found["macro_f1"] == pytest.approx(f1)
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(target, probabilities, sample_weight=weights))
    square = ((probabilities - np.eye(4)[target]) ** 2).sum(axis=1)
    assert found["brier"] == pytest.approx(np.average(square, weights=weights))


def test_a_class_that_is_not_there_and_never_guessed_is_left_out_of_macro_f1() -> None:
    probabilities = np.eye(3)[[0, 1, 0, 1]]
    assert MulticlassMetrics(np.array([0, 1, 0, 1]), probabilities).compute_point()["macro_f1"] == 1.0


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet([1, 1, 1], 30_000)
    target = (probabilities.cumsum(axis=1) > draw.uniform(0, 1, (30_000, 1))).argmax(axis=1)
    assert MulticlassMetrics(target, probabilities).compute_point()["calibration_error"] < 0.02
    sure = np.eye(3)[probabilities.argmax(axis=1)]
    assert MulticlassMetrics(target, sure).compute_point()["calibration_error"] > 0.2


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    # Two rows are two bins: one is right with 0.9, one is wrong with 0.6.
    metrics = MulticlassMetrics(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    assert metrics.compute_point()["calibration_error"] == pytest.approx((0.1 + 0.6) / 2)
    assert metrics.compute_calibration() == [(0.6, 0.0, 1), (0.9, 1.0, 1)]


def test_the_confusion_counts_every_row_once() -> None:
    target, probabilities = _rows(200)
    confusion = MulticlassMetrics(target, probabilities).count_confusion()
    expected = sklearn_metrics.confusion_matrix(target, probabilities.argmax(axis=1), labels=range(4))
    assert np.array_equal(confusion, expected)


def test_intervals_and_comparisons_are_made_as_for_two_classes() -> None:
    ours, worse = _rows(2000), (_rows(2000)[0], np.full((2000, 4), 0.25))
    found = estimate_intervals(MulticlassMetrics(*ours), Resampling(200, 0.95, 1))
    assert list(found) == list(METRICS["multiclass"])
    assert all(each.low <= each.value <= each.high for name, each in found.items() if name != "calibration_error")
    difference = compare_models(
        [MulticlassMetrics(*ours)], [MulticlassMetrics(*worse)], ["accuracy"], Resampling(200, 0.95, 1)
    )
    assert difference["accuracy"].low > 0.2


def test_what_is_no_probability_has_no_metric() -> None:
    target, probabilities = _rows(20)
    probabilities[3, 1] = np.nan
    assert all(
        np.isnan(value) for value in prepare_metrics("multiclass", target, probabilities).compute_point().values()
    )
