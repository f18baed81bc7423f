"""Metrics of a multiclass classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, TaskMetrics
from merit.metrics.calibration import CalibrationBins


class MulticlassMetrics(TaskMetrics):
    """Targets and predicted class probabilities.

    Args:
        target: the index of the true class, [rows].
        probabilities: of each class, in [0, 1], [rows, classes].
    """

    task = "multiclass"

    def __init__(self, target: NDArray[Any], probabilities: NDArray[Any]) -> None:
        values = probabilities.astype(np.float64)
        confidence = values.max(axis=1)
        self.order = np.argsort(-confidence, kind="stable")
        self.rows = len(self.order)
        self.is_finite = bool(np.isfinite(values).all())
        self._probabilities, self._truth = values[self.order], target.astype(int)[self.order]
        self._predicted = self._probabilities.argmax(axis=1)
        self._bins = CalibrationBins(confidence[self.order], self._predicted == self._truth)
        self._terms = np.column_stack([self._compute_terms(), self._bins.compute_gaps()])
        classes = np.arange(values.shape[1])
        true, predicted = self._truth[:, None] == classes, self._predicted[:, None] == classes
        self._hits, self._members = (true & predicted).astype(np.float64), true.astype(np.float64) + predicted

    def _compute_terms(self) -> Array:
        """Return the per-row terms of accuracy, log loss and Brier score, [rows, 3]."""
        row_numbers = np.arange(self.rows)
        true = np.eye(self._probabilities.shape[1])[self._truth]
        loss = -np.log(np.clip(self._probabilities[row_numbers, self._truth], 1e-15, 1.0))
        square = ((self._probabilities - true) ** 2).sum(axis=1)
        return np.column_stack([self._predicted == self._truth, loss, square]).astype(np.float64)

    def _compute_metrics(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights`.

        The Brier score sums over the classes (Brier 1950). The calibration error is the expected calibration error of
        the predicted class, over bins of equal mass (Naeini et al. 2015). Macro F1 averages over the classes that occur
        in the targets or the predictions.
        """
        means = weights @ self._terms / weights.sum(axis=1, keepdims=True)
        results = {
            "accuracy": means[:, 0],
            "log_loss": means[:, 1],
            "brier": means[:, 2],
            "calibration_error": np.abs(means[:, 3:]).sum(axis=1),
        }
        if "macro_f1" in names:
            results["macro_f1"] = self._compute_macro_f1(weights)
        return {name: results[name] for name in names}

    def compute_losses(self) -> Array:
        """Return each row's log loss in the rows' own order, [rows]."""
        losses = np.empty(self.rows)
        losses[self.order] = self._terms[:, 1]
        return losses

    def _compute_macro_f1(self, weights: Array) -> Array:
        hits, members = weights @ self._hits, weights @ self._members
        with np.errstate(invalid="ignore"):  # a class without rows is 0/0, which nanmean leaves out
            return np.asarray(np.nanmean(2 * hits / members, axis=1))

    def compute_calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean confidence, the accuracy and the number of rows."""
        return self._bins.compute_curve()

    def count_confusion(self) -> NDArray[np.int64]:
        """Return the confusion matrix: rows per pair of classes, [true, predicted]."""
        classes = self._probabilities.shape[1]
        counts = np.bincount(self._truth * classes + self._predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)
