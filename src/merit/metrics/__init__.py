"""Metrics per task, with bootstrap intervals.

A shared module: training, evaluation and the gate must use the same definition of every metric.

Example:
    >>> import numpy as np
    >>> measured = prepare_metrics("binary", np.array([0, 1, 0, 1]), np.array([0.2, 0.9, 0.6, 0.7]))
    >>> measured.compute_point()["roc_auc"]
    1.0
    >>> resampling = Resampling(count=200, confidence=0.95, seed=0)
    >>> interval = estimate_intervals(measured, resampling)["brier"]  # has value, low, high
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from merit.metrics.binary import BinaryMetrics
from merit.metrics.bootstrap import (
    MIN_UNITS,
    Estimate,
    Metric,
    Resampling,
    TaskMetrics,
    compare_models,
    estimate_intervals,
    estimate_mean,
)
from merit.metrics.multiclass import MulticlassMetrics
from merit.metrics.regression import RegressionMetrics
from merit.metrics.stateful import StatefulMetric, is_stateful

__all__ = [
    "MIN_UNITS",
    "BinaryMetrics",
    "Estimate",
    "Metric",
    "MulticlassMetrics",
    "RegressionMetrics",
    "Resampling",
    "TaskMetrics",
    "compare_models",
    "estimate_intervals",
    "estimate_mean",
    "prepare_metrics",
]

METRICS_BY_TASK: dict[str, type[BinaryMetrics] | type[MulticlassMetrics] | type[RegressionMetrics]] = {
    kind.task: kind for kind in (BinaryMetrics, MulticlassMetrics, RegressionMetrics)
}


def prepare_metrics(
    task: str,
    target: NDArray[Any],
    prediction: NDArray[Any],
    custom_metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> TaskMetrics:
    """Return targets and predictions, prepared for the metrics of their task.

    Args:
        task: binary, multiclass or regression.
        target: [rows]: 0 or 1; the index of the class; or the number itself.
        prediction: [rows] probabilities; [rows, classes] probabilities; or [rows] numbers.
        custom_metrics: custom metrics of the project, by name.
    """
    metrics: TaskMetrics = METRICS_BY_TASK[task](target, prediction)
    adapted = {
        name: StatefulMetric(name, each, task) if is_stateful(each) else each for name, each in custom_metrics.items()
    }
    metrics.custom_metrics, metrics.target_and_prediction = adapted, (target[metrics.order], prediction[metrics.order])
    return metrics
