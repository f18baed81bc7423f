"""Metrics of a binary classifier and their bootstrap intervals, for one model or for two on the same rows.

On the shared floor, for evaluation measures and the gate compares, and both must mean the same by a word.
Each metric is computed from weights, so that a resample is a row of counts over rows sorted only once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HIGHER_IS_BETTER = {
    "roc_auc": True,
    "average_precision": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
}
"""Each metric's direction; all are shares in [0, 1] but log_loss, which is in nats."""

BINS = 10
CELLS = 1_000_000
"""Resampled weights held at once: a block of this many fits the processor's cache well enough."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the sample, and its percentile bootstrap interval (Efron 1979)."""

    value: float
    low: float
    high: float


class Scored:
    """Probabilities beside the truth, sorted once.

    Args:
        target: 0 or 1, [rows].
        probability: in [0, 1], [rows].
    """

    def __init__(self, target: NDArray[Any], probability: NDArray[Any]) -> None:
        self.order = np.argsort(-probability.astype(np.float64), kind="stable")
        self.target = target.astype(np.float64)[self.order]
        self.probability = probability.astype(np.float64)[self.order]
        self.rows = len(self.target)
        # Equal probabilities can't be told apart by a threshold: they count as one step.
        self._steps = np.flatnonzero(np.r_[True, np.diff(self.probability) != 0])
        clipped = np.clip(self.probability, 1e-15, 1 - 1e-15)
        self._loss = -(self.target * np.log(clipped) + (1 - self.target) * np.log1p(-clipped))
        self._square = (self.target - self.probability) ** 2
        self._bins = np.unique(np.linspace(0, self.rows, BINS + 1)[:-1].astype(int))

    def measure(self, weights: Array) -> dict[str, Array]:
        """Return each metric for each row of `weights` [resamples, rows], given in the order of the rows as they came.

        A metric is NaN where it has no meaning: no positive, or no negative, has weight.
        """
        weights = weights[:, self.order]
        total = weights.sum(axis=1)
        positive = weights * self.target
        steps_positive = np.add.reduceat(positive, self._steps, axis=1)
        steps_all = np.add.reduceat(weights, self._steps, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "roc_auc": _roc_auc(steps_positive, steps_all - steps_positive),
                "average_precision": _average_precision(steps_positive, steps_all),
                "log_loss": weights @ self._loss / total,
                "brier": weights @ self._square / total,
                "calibration_error": self._calibration_error(weights, total),
            }

    def _calibration_error(self, weights: Array, total: Array) -> Array:
        """Expected calibration error over bins of equal mass (Naeini et al. 2015)."""
        gaps = np.add.reduceat(weights * (self.target - self.probability), self._bins, axis=1)
        return np.asarray(np.abs(gaps).sum(axis=1) / total)

    def point(self) -> dict[str, float]:
        """Return each metric on the rows as they are."""
        return {name: float(values[0]) for name, values in self.measure(np.ones((1, self.rows))).items()}

    def calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean probability, the share of positives and the rows."""
        pieces = np.split(np.arange(self.rows), self._bins[1:])
        return [(float(self.probability[p].mean()), float(self.target[p].mean()), len(p)) for p in reversed(pieces)]


def _roc_auc(positive: Array, negative: Array) -> Array:
    """Area under the ROC curve: the share of pairs in the right order, ties counting half (Mann and Whitney 1947)."""
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)
    right = (positive * (below + negative / 2)).sum(axis=1)
    return np.asarray(right / (positive.sum(axis=1) * negative.sum(axis=1)))


def _average_precision(positive: Array, both: Array) -> Array:
    """Precision averaged over the steps in recall, without interpolation."""
    precision = np.cumsum(positive, axis=1) / np.cumsum(both, axis=1)
    # A step without weight before any other has no precision and adds no recall.
    return np.asarray((np.nan_to_num(precision) * positive).sum(axis=1) / positive.sum(axis=1))


def resamples(rows: int, count: int, seed: int) -> Iterator[Array]:
    """Yield blocks [some, rows] of how often each row is drawn, `count` resamples in all."""
    generator = np.random.default_rng(seed)
    block = max(1, CELLS // rows)
    for start in range(0, count, block):
        some = min(block, count - start)
        drawn = generator.integers(0, rows, (some, rows)) + rows * np.arange(some)[:, None]
        yield np.bincount(drawn.ravel(), minlength=some * rows).reshape(some, rows).astype(np.float64)


def estimate(scored: Scored, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN values where a metric has no meaning on these rows."""
    drawn = _collect(scored.measure(weights) for weights in resamples(scored.rows, count, seed))
    return {name: _interval(value, drawn[name], confidence) for name, value in scored.point().items()}


def compare(candidate: Scored, rival: Scored, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return candidate minus rival for each metric, over the same resamples of the same rows."""
    drawn = _collect(_difference(candidate.measure(w), rival.measure(w)) for w in resamples(candidate.rows, count, seed))
    ours, theirs = candidate.point(), rival.point()
    return {name: _interval(ours[name] - theirs[name], drawn[name], confidence) for name in ours}


def _difference(ours: dict[str, Array], theirs: dict[str, Array]) -> dict[str, Array]:
    return {name: ours[name] - theirs[name] for name in ours}


def _collect(blocks: Iterator[dict[str, Array]]) -> dict[str, Array]:
    gathered = list(blocks)
    return {name: np.concatenate([block[name] for block in gathered]) for name in HIGHER_IS_BETTER}


def _interval(value: float, drawn: Array, confidence: float) -> Estimate:
    if np.isnan(value) or np.isnan(drawn).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))
