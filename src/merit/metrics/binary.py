"""Metrics of a binary classifier: how it ranks, how sharp and how honest its probabilities are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array, Scored
from merit.metrics.calibration import Bins

RANKED = frozenset({"roc_auc", "average_precision"})


class Binary(Scored):
    """Probabilities beside the truth, sorted once.

    Args:
        target: 0 or 1, [rows].
        probability: in [0, 1], [rows].
    """

    task = "binary"

    def __init__(self, target: NDArray[Any], probability: NDArray[Any]) -> None:
        self.order = np.argsort(-probability.astype(np.float64), kind="stable")
        self.target = target.astype(np.float64)[self.order]
        self.probability = probability.astype(np.float64)[self.order]
        self.rows = len(self.target)
        self.known = bool(np.isfinite(self.probability).all())
        self._set_steps()
        self._set_means()

    def _set_steps(self) -> None:
        """Note where a threshold can fall: equal probabilities can't be told apart, so they count as one step."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.probability) != 0])
        self._starts = None if len(starts) == self.rows else starts
        positive = self.target if self._starts is None else np.add.reduceat(self.target, starts)
        # Only steps that hold a positive add to recall, and only pairs with a positive are ranked.
        self._ends = np.flatnonzero(positive)
        self._positives = np.flatnonzero(self.target)
        of_step = np.arange(self.rows) if self._starts is None else np.cumsum(np.isin(np.arange(self.rows), starts)) - 1
        self._firsts = np.flatnonzero(np.r_[True, np.diff(of_step[self._positives]) != 0])[: len(self._ends)]

    def _set_means(self) -> None:
        """Lay out what metrics are weighted means of, side by side: one product with the weights gives them all."""
        clipped = np.clip(self.probability, 1e-15, 1 - 1e-15)
        loss = -(self.target * np.log(clipped) + (1 - self.target) * np.log1p(-clipped))
        square = (self.target - self.probability) ** 2
        self._bins = Bins(self.probability, self.target)
        self._means = np.column_stack([loss, square, self._bins.gaps()])

    def _measured(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], given in the order of `self.order`.

        A metric is NaN where it has no meaning: no positive, or no negative, has weight.
        """
        found: dict[str, Array] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            if RANKED.intersection(names):
                found |= self._ranked(weights, names)
            if not RANKED.issuperset(names):
                found |= self._averaged(weights)
        return {name: found[name] for name in names}

    def _averaged(self, weights: Array) -> dict[str, Array]:
        """Return the metrics that are weighted means of rows."""
        means = weights @ self._means / weights.sum(axis=1, keepdims=True)
        return {
            "log_loss": means[:, 0],
            "brier": means[:, 1],
            "calibration_error": np.abs(means[:, 2:]).sum(axis=1),
        }

    def _ranked(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the metrics that depend on the order of the probabilities alone.

        ROC AUC: the share of pairs in the right order, ties counting half (Mann and Whitney 1947). Average precision:
        precision averaged over the steps in recall, without interpolation.
        """
        positive = np.take(weights, self._positives, axis=1)
        both = weights
        if self._starts is not None and len(self._ends):
            positive = np.add.reduceat(positive, self._firsts, axis=1)
            both = np.add.reduceat(weights, self._starts, axis=1)
        above = np.cumsum(both, axis=1)
        total, at = above[:, -1:], np.take(above, self._ends, axis=1)
        ties = np.take(both, self._ends, axis=1) - positive if self._starts is not None else 0.0
        hits = np.cumsum(positive, axis=1)
        positives = positive.sum(axis=1)
        found: dict[str, Array] = {}
        if "roc_auc" in names:
            # Negatives of a lower step are below; those of the same step are ties.
            below = (total - positives[:, None]) - (at - hits) + ties / 2
            found["roc_auc"] = (positive * below).sum(axis=1) / (positives * (total[:, 0] - positives))
        if "average_precision" in names:
            # A step without weight before any other has no precision, and adds no recall.
            found["average_precision"] = (positive * np.nan_to_num(hits / at)).sum(axis=1) / positives
        return found

    def calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean probability, the share of positives and the rows."""
        return self._bins.curve()
