"""Metrics of a multiclass classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, Scored
from merit.metrics.calibration import Bins


class Multiclass(Scored):
    """Targets and predicted class probabilities.

    Args:
        target: the index of the true class, [rows].
        probabilities: of each class, in [0, 1], [rows, classes].
    """

    task = "multiclass"

    def __init__(self, target: NDArray[Any], probabilities: NDArray[Any]) -> None:
        given = probabilities.astype(np.float64)
        confidence = given.max(axis=1)
        self.order = np.argsort(-confidence, kind="stable")
        self.rows = len(self.order)
        self.known = bool(np.isfinite(given).all())
        self._given, self._truth = given[self.order], target.astype(int)[self.order]
        self._guess = self._given.argmax(axis=1)
        self._bins = Bins(confidence[self.order], self._guess == self._truth)
        self._means = np.column_stack([self._means_of_rows(), self._bins.gaps()])
        classes = np.arange(given.shape[1])
        true, guessed = self._truth[:, None] == classes, self._guess[:, None] == classes
        self._hits, self._members = (true & guessed).astype(np.float64), true.astype(np.float64) + guessed

    def _means_of_rows(self) -> Array:
        """Return the per-row terms of accuracy, log loss and Brier score, [rows, 3]."""
        at = np.arange(self.rows)
        true = np.eye(self._given.shape[1])[self._truth]
        loss = -np.log(np.clip(self._given[at, self._truth], 1e-15, 1.0))
        square = ((self._given - true) ** 2).sum(axis=1)
        return np.column_stack([self._guess == self._truth, loss, square]).astype(np.float64)

    def _measured(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights`.

        The Brier score sums over the classes (Brier 1950). The calibration error is the expected calibration error of
        the predicted class, over bins of equal mass (Naeini et al. 2015). Macro F1 averages over the classes that occur
        in the targets or the predictions.
        """
        means = weights @ self._means / weights.sum(axis=1, keepdims=True)
        found = {
            "accuracy": means[:, 0],
            "log_loss": means[:, 1],
            "brier": means[:, 2],
            "calibration_error": np.abs(means[:, 3:]).sum(axis=1),
        }
        if "macro_f1" in names:
            found["macro_f1"] = self._macro_f1(weights)
        return {name: found[name] for name in names}

    def _macro_f1(self, weights: Array) -> Array:
        hits, members = weights @ self._hits, weights @ self._members
        with np.errstate(invalid="ignore"):  # a class without rows is 0/0, which nanmean leaves out
            return np.asarray(np.nanmean(2 * hits / members, axis=1))

    def calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean confidence, the accuracy and the number of rows."""
        return self._bins.curve()

    def confusion(self) -> NDArray[np.int64]:
        """Return the confusion matrix: rows per pair of classes, [true, predicted]."""
        classes = self._given.shape[1]
        counts = np.bincount(self._truth * classes + self._guess, minlength=classes * classes)
        return counts.reshape(classes, classes)
