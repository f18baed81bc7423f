"""Metrics and their intervals, per task.

On the shared floor, for training, evaluation and the gate must all mean the same by a word.
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
    """Return predictions beside the truth, ready to be measured as their task is.

    Args:
        task: binary, multiclass or regression.
        target: [rows]: 0 or 1; the place of the class; or the number itself.
        prediction: [rows] probabilities; [rows, classes] probabilities; or [rows] numbers.
        own: metrics of the project's own, by name.
    """
    made: Scored = KINDS[task](target, prediction)
    called = {name: StatefulMetric(name, each, task) if is_stateful(each) else each for name, each in own.items()}
    made.own, made.given = called, (target[made.order], prediction[made.order])
    return made
