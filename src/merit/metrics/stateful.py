"""Adapter from stateful metrics (update, then compute), such as those of torchmetrics, to merit's `Metric`."""

import copy
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError


class StatefulMetric:
    """Adapts a metric with `reset`, `update(prediction, target)` and `compute`; a row of weight 2 is passed twice.

    Args:
        name: the metric's name in the project.
        metric: the metric. It holds state, so each thread works on its own copy.
        task: decides the type of targets: float64 for a regression, else int64.
    """

    def __init__(self, name: str, metric: Any, task: str) -> None:
        self.higher_is_better: bool = metric.higher_is_better
        self._name, self._metric = name, metric
        self._target_type = np.float64 if task == "regression" else np.int64
        self._copies = threading.local()

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any], weights: NDArray[np.float64]) -> float:
        """Return the metric over the rows, each repeated by its weight."""
        import torch

        rows = np.repeat(np.arange(len(target)), weights.astype(np.int64))
        tensors = (
            torch.as_tensor(prediction[rows].astype(np.float64)),
            torch.as_tensor(target[rows].astype(self._target_type)),
        )
        metric = self._get_thread_copy()
        try:
            metric.reset()
            metric.update(*tensors)
            return float(metric.compute())
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if not type(metric).__module__.startswith("torchmetrics."):
                raise  # reported as an error in the project's own code
            reason = " ".join(str(error).split())[:300]
            raise MeritError(
                f"evaluate.metrics.{self._name}: {type(metric).__name__} gives no number: {reason}"
            ) from error

    def _get_thread_copy(self) -> Any:
        if not hasattr(self._copies, "metric"):
            self._copies.metric = copy.deepcopy(self._metric)
        return self._copies.metric


def is_stateful(metric: Any) -> bool:
    """Return whether a metric has `reset`, `update` and `compute` instead of being called once."""
    return all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute"))
