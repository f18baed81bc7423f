"""Metrics per task, with bootstrap intervals.

A shared module: training, evaluation and the gate must use the same definition of every metric.

Example:
    >>> import numpy as np
    >>> measured = scored("binary", np.array([0, 1, 0, 1]), np.array([0.2, 0.9, 0.6, 0.7]))
    >>> measured.point()["roc_auc"]
    1.0
    >>> interval = estimate(measured, count=200, confidence=0.95, seed=0)["brier"]  # has value, low, high
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from merit.metrics.binary import Binary
from merit.metrics.bootstrap import Estimate, Metric, Scored, compare, estimate
from merit.metrics.multiclass import Multiclass
from merit.metrics.regression import Regression
from merit.metrics.stateful import StatefulMetric, is_stateful

__all__ = ["Binary", "Estimate", "Metric", "Multiclass", "Regression", "Scored", "compare", "estimate", "scored"]

KINDS: dict[str, type[Binary] | type[Multiclass] | type[Regression]] = {
    kind.task: kind for kind in (Binary, Multiclass, Regression)
}


def scored(
    task: str, target: NDArray[Any], prediction: NDArray[Any], own: Mapping[str, Metric] = MappingProxyType({})
) -> Scored:
    """Return targets and predictions, prepared for the metrics of their task.

    Args:
        task: binary, multiclass or regression.
        target: [rows]: 0 or 1; the index of the class; or the number itself.
        prediction: [rows] probabilities; [rows, classes] probabilities; or [rows] numbers.
        own: custom metrics of the project, by name.
    """
    made: Scored = KINDS[task](target, prediction)
    called = {name: StatefulMetric(name, each, task) if is_stateful(each) else each for name, each in own.items()}
    made.own, made.given = called, (target[made.order], prediction[made.order])
    return made
