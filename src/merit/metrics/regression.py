"""Metrics of a regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, TaskMetrics


class RegressionMetrics(TaskMetrics):
    """Targets and predictions of a regression.

    Args:
        target: the true numbers, [rows].
        predicted: the predicted numbers, [rows].
    """

    task = "regression"

    def __init__(self, target: NDArray[Any], predicted: NDArray[Any]) -> None:
        self.rows = len(target)
        self.order = np.arange(self.rows)
        true, error = target.astype(np.float64), target.astype(np.float64) - predicted.astype(np.float64)
        self.is_finite = bool(np.isfinite(error).all())
        centred = true - true.mean()  # doesn't change the variance, but avoids cancellation of large means
        self._terms = np.column_stack([np.abs(error), error**2, centred, centred**2])

    def _compute_metrics(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights`; `r2` is NaN where all targets are equal."""
        absolute, square, mean, second = (weights @ self._terms / weights.sum(axis=1, keepdims=True)).T
        variance = second - mean**2
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = np.where(variance > 1e-12 * np.maximum(second, 1e-300), 1 - square / variance, np.nan)
        results = {"mae": absolute, "rmse": np.sqrt(square), "r2": r2}
        return {name: results[name] for name in names}

    def compute_losses(self) -> Array:
        """Return each row's squared error, [rows]."""
        return self._terms[:, 1]
