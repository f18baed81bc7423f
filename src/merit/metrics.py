"""Metrics of a binary classifier and their bootstrap intervals, for one model or for two on the same rows.

On the shared floor, for evaluation measures and the gate compares, and both must mean the same by a word.
Each metric is computed from weights, so that a resample is a row of counts over rows sorted only once.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Measure = Callable[[Array], dict[str, Array]]

HIGHER_IS_BETTER = {
    "roc_auc": True,
    "average_precision": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
}
"""Each metric's direction; all are shares in [0, 1] but log_loss, which is in nats."""

METRICS = tuple(HIGHER_IS_BETTER)
BINS = 10
CELLS = 120_000
"""Resampled weights held at once: a block of this many fits the processor's cache well enough."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the sample, and its percentile bootstrap interval (Efron 1979)."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return the three numbers, None where there is none, for JSON knows no NaN."""
        return {name: None if math.isnan(number) else number for name, number in vars(self).items()}


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
        self._known = bool(np.isfinite(self.probability).all())
        # Equal probabilities can't be told apart by a threshold: they count as one step.
        self._steps = np.flatnonzero(np.r_[True, np.diff(self.probability) != 0])
        clipped = np.clip(self.probability, 1e-15, 1 - 1e-15)
        self._loss = -(self.target * np.log(clipped) + (1 - self.target) * np.log1p(-clipped))
        self._square = (self.target - self.probability) ** 2
        self._bins = np.unique(np.linspace(0, self.rows, BINS + 1)[:-1].astype(int))

    def measure(self, weights: Array, names: Sequence[str] = METRICS) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], given in the order of `self.order`.

        A metric is NaN where it has no meaning: no positive, or no negative, has weight, or a probability is none.
        """
        total = weights.sum(axis=1)
        if not self._known:
            return {name: np.full(len(weights), np.nan) for name in names}
        found: dict[str, Array] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            if "roc_auc" in names or "average_precision" in names:
                found = self._ranked(weights)
            found["log_loss"] = weights @ self._loss / total
            found["brier"] = weights @ self._square / total
            if "calibration_error" in names:
                found["calibration_error"] = self._calibration_error(weights, total)
        return {name: found[name] for name in names}

    def _ranked(self, weights: Array) -> dict[str, Array]:
        """Return the metrics that depend on the order of the probabilities alone."""
        positive, both = self._by_step(weights * self.target), self._by_step(weights)
        return {
            "roc_auc": _roc_auc(positive, both - positive),
            "average_precision": _average_precision(positive, both),
        }

    def _by_step(self, weights: Array) -> Array:
        if len(self._steps) == self.rows:
            return weights
        return np.asarray(np.add.reduceat(weights, self._steps, axis=1))

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


def estimate(scored: Scored, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN values where a metric has no meaning on these rows."""
    # Each row is drawn alike, so the order in which they are counted makes no difference to one model.
    drawn = _bootstrap(scored.measure, scored.rows, count, seed)
    return {name: _interval(value, drawn[name], confidence) for name, value in scored.point().items()}


def compare(
    candidate: Scored, rival: Scored, names: Sequence[str] = METRICS, *, count: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Return candidate minus rival for each metric named, over the same resamples of the same rows."""
    # Draws are made in the candidate's order, and the rival's copy of each is put into its own.
    place = np.argsort(candidate.order)[rival.order]

    def difference(weights: Array) -> dict[str, Array]:
        ours = candidate.measure(weights, names)
        theirs = rival.measure(np.take(weights, place, axis=1), names)
        return {name: ours[name] - theirs[name] for name in ours}

    drawn = _bootstrap(difference, candidate.rows, count, seed)
    ours, theirs = candidate.point(), rival.point()
    return {name: _interval(ours[name] - theirs[name], drawn[name], confidence) for name in names}


def _bootstrap(measure: Measure, rows: int, count: int, seed: int) -> dict[str, Array]:
    """Return what `measure` says of `count` resamples, [count] each.

    They are drawn in blocks, each from a seed of its own, so that threads can share the work and the result is the
    same however many there are.
    """
    block = max(1, CELLS // rows)
    sizes = [min(block, count - start) for start in range(0, count, block)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))

    def run(each: np.random.SeedSequence, size: int) -> dict[str, Array]:
        return measure(_counts(np.random.default_rng(each), size, rows))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(run, seeds, sizes))
    return {name: np.concatenate([found[name] for found in blocks]) for name in blocks[0]}


def _counts(generator: np.random.Generator, size: int, rows: int) -> Array:
    """Draw `size` resamples; return how often each holds each row, [size, rows]."""
    drawn = generator.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def _interval(value: float, drawn: Array, confidence: float) -> Estimate:
    if np.isnan(value) or np.isnan(drawn).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))
