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
RANKED = frozenset({"roc_auc", "average_precision"})
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
        gap = self.target - self.probability
        self._bins = np.unique(np.linspace(0, self.rows, BINS + 1)[:-1].astype(int))
        self._means = np.zeros((self.rows, 2 + len(self._bins)))
        self._means[:, 0], self._means[:, 1] = loss, gap**2
        for place, inside in enumerate(np.split(np.arange(self.rows), self._bins[1:])):
            self._means[inside, 2 + place] = gap[inside]

    def measure(self, weights: Array, names: Sequence[str] = METRICS) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], given in the order of `self.order`.

        A metric is NaN where it has no meaning: no positive, or no negative, has weight, or a probability is none.
        """
        if not self._known:
            return {name: np.full(len(weights), np.nan) for name in names}
        found: dict[str, Array] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            if RANKED.intersection(names):
                found |= self._ranked(weights, names)
            if not RANKED.issuperset(names):
                found |= self._averaged(weights)
        return {name: found[name] for name in names}

    def _averaged(self, weights: Array) -> dict[str, Array]:
        """Return the metrics that are weighted means of rows.

        The calibration error is the expected one over bins of equal mass (Naeini et al. 2015).
        """
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

    def point(self) -> dict[str, float]:
        """Return each metric on the rows as they are."""
        return {name: float(values[0]) for name, values in self.measure(np.ones((1, self.rows))).items()}

    def calibration(self) -> list[tuple[float, float, int]]:
        """Return, per bin of equal mass, the mean probability, the share of positives and the rows."""
        pieces = np.split(np.arange(self.rows), self._bins[1:])
        return [(float(self.probability[p].mean()), float(self.target[p].mean()), len(p)) for p in reversed(pieces)]


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
    drawn = generator.integers(0, rows, (size, rows), dtype=np.uint32)
    return np.stack([np.bincount(each, minlength=rows) for each in drawn]).astype(np.float64)


def _interval(value: float, drawn: Array, confidence: float) -> Estimate:
    if np.isnan(value) or np.isnan(drawn).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))
