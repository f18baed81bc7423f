"""Metrics of torchmetrics: the same figures as merit's own, and intervals by the same resamples."""

from typing import Any

import numpy as np
import pytest
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy
from torchmetrics.regression import MeanAbsoluteError

from merit.errors import MeritError
from merit.metrics import Resampling, estimate_intervals, prepare_metrics

DRAW = np.random.default_rng(0)
ROWS = 200
TRUE = DRAW.integers(0, 2, ROWS).astype(np.float64)
CLASSES = DRAW.integers(0, 3, ROWS).astype(np.float64)
OF_CLASSES = DRAW.dirichlet(np.ones(3), ROWS)
NUMBERS = DRAW.normal(0, 1, ROWS)


@pytest.mark.parametrize(
    ("task", "target", "prediction", "metric", "same"),
    [
        ("binary", TRUE, DRAW.uniform(0, 1, ROWS).astype(np.float32), BinaryAUROC(), "roc_auc"),
        ("multiclass", CLASSES, OF_CLASSES, MulticlassAccuracy(num_classes=3, average="micro"), "accuracy"),
        ("regression", NUMBERS, NUMBERS + DRAW.normal(0, 1, ROWS), MeanAbsoluteError(), "mae"),
    ],
)
def test_a_metric_of_torchmetrics_has_the_value_and_the_interval_of_merits_own(
    task: str, target: Any, prediction: Any, metric: Any, same: str
) -> None:
    found = estimate_intervals(prepare_metrics(task, target, prediction, {"theirs": metric}), Resampling(40, 0.9, 1))
    ours, theirs = found[same], found["theirs"]
    assert theirs.low < theirs.value < theirs.high
    assert [theirs.low, theirs.value, theirs.high] == pytest.approx([ours.low, ours.value, ours.high], abs=1e-6)


def test_a_metric_of_torchmetrics_that_can_not_take_the_rows_is_told_in_a_line() -> None:
    with pytest.raises(MeritError, match=r"^evaluate\.metrics\.odd: BinaryAUROC gives no number: "):
        prepare_metrics("multiclass", CLASSES, OF_CLASSES, {"odd": BinaryAUROC()}).compute_point()


def test_an_error_of_the_projects_own_stateful_metric_stays_its_own() -> None:
    class Broken:
        higher_is_better = True

        def reset(self) -> None: ...
        def update(self, prediction: Any, target: Any) -> None: ...
        def compute(self) -> float:
            raise ValueError("the project's own")

    with pytest.raises(ValueError, match="the project's own"):
        prepare_metrics("binary", TRUE, TRUE, {"broken": Broken()}).compute_point()


def test_a_metric_that_has_a_part_of_the_stateful_ones_methods_is_called() -> None:
    class Called:
        higher_is_better = True

        def compute(self) -> float:
            raise NotImplementedError

        def __call__(self, target: Any, prediction: Any, weights: Any) -> float:
            return 0.25

    assert prepare_metrics("binary", TRUE, TRUE, {"called": Called()}).compute_point()["called"] == 0.25
