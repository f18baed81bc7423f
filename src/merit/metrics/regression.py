"""Metrics of a regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, Scored


class Regression(Scored):
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
        self.known = bool(np.isfinite(error).all())
        centred = true - true.mean()  # doesn't change the variance, but avoids cancellation of large means
        self._means = np.column_stack([np.abs(error), error**2, centred, centred**2])

    def _measured(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights`; `r2` is NaN where all targets are equal."""
        absolute, square, mean, second = (weights @ self._means / weights.sum(axis=1, keepdims=True)).T
        spread = second - mean**2
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = np.where(spread > 1e-12 * np.maximum(second, 1e-300), 1 - square / spread, np.nan)
        found = {"mae": absolute, "rmse": np.sqrt(square), "r2": r2}
        return {name: found[name] for name in names}
