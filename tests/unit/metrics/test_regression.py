from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from merit.config.tasks import METRICS
from merit.errors import MeritError
from merit.metrics import RegressionMetrics, Resampling, compare_models, estimate_intervals, prepare_metrics


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_each_metric_is_scikit_learns(weighted: bool, shift: float) -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(0, 3, 500) + shift
    predicted = target + draw.normal(0.5, 1, 500)
    weights = draw.integers(0, 3, 500).astype(float) if weighted else np.ones(500)
    measured = RegressionMetrics(target, predicted).measure(weights[None, :], tuple(METRICS["regression"]))
    found = {name: float(values[0]) for name, values in measured.items()}
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(target, predicted, sample_weight=weights))
    square = sklearn_metrics.mean_squared_error(target, predicted, sample_weight=weights)
    assert found["rmse"] == pytest.approx(np.sqrt(square))
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(target, predicted, sample_weight=weights))


def test_the_unit_of_the_target_changes_no_r2() -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(0, 1, 50)
    predicted = target + draw.normal(0, 0.5, 50)
    small, large = (RegressionMetrics(unit * target, unit * predicted).compute_point()["r2"] for unit in (1e-9, 1e9))
    assert small == pytest.approx(large) == pytest.approx(sklearn_metrics.r2_score(target, predicted))


def test_targets_that_are_all_one_have_no_r2() -> None:
    found = RegressionMetrics(np.full(10, 0.1), np.linspace(0, 1, 10)).compute_point()
    assert np.isnan(found["r2"])
    assert found["mae"] > 0


def test_a_prediction_that_is_no_number_has_no_metric() -> None:
    assert all(
        np.isnan(v)
        for v in prepare_metrics("regression", np.zeros(3), np.array([1.0, np.inf, 0.0])).compute_point().values()
    )


def test_intervals_hold_their_value_and_a_better_model_is_better() -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(0, 1, 1000)
    good, bad = (RegressionMetrics(target, target + draw.normal(0, spread, 1000)) for spread in (0.3, 0.6))
    found = estimate_intervals(good, Resampling(200, 0.95, 1))
    assert all(each.low < each.value < each.high for each in found.values())
    assert compare_models([good], [bad], ["rmse"], Resampling(200, 0.95, 1))["rmse"].high < 0


class Own:
    """A metric that gives what it is told to."""

    higher_is_better = True

    def __init__(self, given: Any) -> None:
        self.given = given

    def __call__(self, target: Any, prediction: Any, weights: Any) -> Any:
        """Return it."""
        return self.given


def test_a_metric_of_ones_own_stands_beside_the_tasks() -> None:
    class Weighted(Own):
        def __call__(self, target: Any, prediction: Any, weights: Any) -> Any:
            """Return the weighted mean of the target."""
            return np.average(target, weights=weights)

    target = np.arange(10.0)
    found = estimate_intervals(
        prepare_metrics("regression", target, target, {"mine": Weighted(0)}), Resampling(100, 0.9, 1)
    )
    assert list(found) == ["mae", "rmse", "r2", "mine"]
    assert found["mine"].value == 4.5
    assert found["mine"].low < 4.5 < found["mine"].high


@pytest.mark.parametrize("given", ["much", None, [1.0, 2.0]])
def test_a_metric_of_ones_own_that_gives_no_number_is_told(given: Any) -> None:
    with pytest.raises(MeritError, match=r"^evaluate\.metrics\.mine: gave .*; it must give a number$"):
        prepare_metrics("regression", np.zeros(3), np.zeros(3), {"mine": Own(given)}).compute_point()


def test_a_metric_of_ones_own_that_takes_something_else_is_told() -> None:
    with pytest.raises(MeritError, match=r"^evaluate\.metrics\.mine: takes no target, prediction, weights: "):
        prepare_metrics("regression", np.zeros(3), np.zeros(3), {"mine": lambda target: 1.0}).compute_point()  # type: ignore[dict-item]
