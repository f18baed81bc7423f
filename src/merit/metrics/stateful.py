"""Metrics that are updated and then computed, as those of torchmetrics are, called as merit calls a metric."""

import copy
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError


class StatefulMetric:
    """Calls a metric that has `reset`, `update(prediction, target)` and `compute`: a row that counts twice is two rows.

    Args:
        name: what the project calls it.
        metric: itself. Each thread works on a copy, for it keeps what it was updated with.
        task: a class is given as a whole number, what a regression is about as a float.
    """

    def __init__(self, name: str, metric: Any, task: str) -> None:
        self.higher_is_better: bool = metric.higher_is_better
        self._name, self._metric = name, metric
        self._kind = np.float64 if task == "regression" else np.int64
        self._copies = threading.local()

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any], weights: NDArray[np.float64]) -> float:
        """Return the metric of the rows, each as often as its weight says."""
        import torch

        rows = np.repeat(np.arange(len(target)), weights.astype(np.int64))
        given = torch.as_tensor(prediction[rows].astype(np.float64)), torch.as_tensor(target[rows].astype(self._kind))
        metric = self._of_this_thread()
        try:
            metric.reset()
            metric.update(*given)
            return float(metric.compute())
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if not type(metric).__module__.startswith("torchmetrics."):
                raise  # told as an error of the project's own code
            reason = " ".join(str(error).split())[:300]
            raise MeritError(
                f"evaluate.metrics.{self._name}: {type(metric).__name__} gives no number: {reason}"
            ) from error

    def _of_this_thread(self) -> Any:
        if not hasattr(self._copies, "metric"):
            self._copies.metric = copy.deepcopy(self._metric)
        return self._copies.metric


def is_stateful(metric: Any) -> bool:
    """Say whether a metric is updated and computed instead of called once."""
    return all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute"))
