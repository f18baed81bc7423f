"""Metrics of a binary classifier: ranking, accuracy of the probabilities, calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, TaskMetrics
from merit.metrics.calibration import CalibrationBins

RANKING_METRICS = frozenset({"roc_auc", "average_precision"})


class BinaryMetrics(TaskMetrics):
    """Targets and predicted probabilities, sorted once by probability, highest first.

    Args:
        target: 0 or 1, [rows].
        probability: the probability of 1, in [0, 1], [rows].
    """

    task = "binary"

    def __init__(self, target: NDArray[Any], probability: NDArray[Any]) -> None:
        self.order = np.argsort(-probability.astype(np.float64), kind="stable")
        self.target = target.astype(np.float64)[self.order]
        self.probability = probability.astype(np.float64)[self.order]
        self.rows = len(self.target)
        self.is_finite = bool(np.isfinite(self.probability).all())
        self._set_steps()
        self._set_terms()

    def _set_steps(self) -> None:
        """Precompute the steps at which a threshold can lie; rows of equal probability form one step."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.probability) != 0])
        self._positives = np.flatnonzero(self.target)
        step = np.searchsorted(starts, self._positives, side="right") - 1
        # Per positive: the rows before its step, the rows up to the step's end, and the positives up to the step's end.
        self._rows_before = starts[step]
        self._rows_through = np.r_[starts[1:], self.rows][step]
        self._positives_through = np.searchsorted(step, step, side="right")

    def _set_terms(self) -> None:
        """Precompute the per-row terms of all metrics that are weighted means, so that one matrix product gives all."""
        clipped = np.clip(self.probability, 1e-15, 1 - 1e-15)
        loss = -(self.target * np.log(clipped) + (1 - self.target) * np.log1p(-clipped))
        square = (self.target - self.probability) ** 2
        self._bins = CalibrationBins(self.probability, self.target)
        self._terms = np.column_stack([loss, square, self._bins.compute_gaps()])

    def _compute_metrics(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], whose columns are in the order of `self.order`.

        A metric is NaN where it is undefined: no positive, or no negative, has weight.
        """
        results: dict[str, Array] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            if RANKING_METRICS.intersection(names):
                results |= self._compute_ranking(weights, names)
            if not RANKING_METRICS.issuperset(names):
                results |= self._compute_averages(weights, names)
        return {name: results[name] for name in names}

    def compute_losses(self) -> Array:
        """Return each row's log loss in the rows' own order, [rows]."""
        losses = np.empty(self.rows)
        losses[self.order] = self._terms[:, 0]
        return losses

    def _compute_averages(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the metrics that are weighted means of rows."""
        columns = self._terms if "calibration_error" in names else self._terms[:, :2]
        means = weights @ columns / weights.sum(axis=1, keepdims=True)
        return {
            "log_loss": means[:, 0],
            "brier": means[:, 1],
            "calibration_error": np.abs(means[:, 2:]).sum(axis=1),
        }

    def _compute_ranking(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the metrics that depend only on the order of the probabilities.

        ROC AUC: the share of pairs in the right order, ties counting half (Mann and Whitney 1947). Average precision:
        precision averaged over the steps in recall, without interpolation.
        """
        above = _sum_cumulatively(weights)
        total, through = above[:, -1], np.take(above, self._rows_through, axis=1)
        positive = np.take(weights, self._positives, axis=1)
        positives = positive.sum(axis=1)
        results: dict[str, Array] = {}
        if "roc_auc" in names:
            # Below a positive are all rows of lower steps and half of those of its own step. Pairs of two positives
            # (each with itself included) add up to half the square of their weight: subtract them.
            below = total[:, None] - (np.take(above, self._rows_before, axis=1) + through) / 2
            pairs = (positive * below).sum(axis=1) - positives**2 / 2
            results["roc_auc"] = pairs / (positives * (total - positives))
        if "average_precision" in names:
            # While no row has weight yet, precision is 0/0; such a step adds no recall, so 0 is as good.
            precision = np.nan_to_num(np.take(_sum_cumulatively(positive), self._positives_through, axis=1) / through)
            results["average_precision"] = (positive * precision).sum(axis=1) / positives
        return results

    def compute_curve(self) -> tuple[Array, Array, Array]:
        """Return false positive rate, recall and precision from the highest threshold to the lowest, [steps + 1].

        At the first point nothing is predicted positive, and precision is defined as 1.
        """
        step_ends = np.r_[np.flatnonzero(np.diff(self.probability)), self.rows - 1]
        hits, predicted_positive = np.cumsum(self.target)[step_ends], step_ends + 1.0
        positives = hits[-1]
        with np.errstate(invalid="ignore"):
            rates = (predicted_positive - hits) / (self.rows - positives), hits / positives
        return np.r_[0.0, rates[0]], np.r_[0.0, rates[1]], np.r_[1.0, hits / predicted_positive]

    def compute_calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean probability, the share of positives and the number of rows."""
        return self._bins.compute_curve()


def _sum_cumulatively(weights: Array) -> Array:
    """Return the cumulative sums over columns, starting at 0, [resamples, columns + 1]."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
