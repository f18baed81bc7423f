"""Bootstrap intervals of metrics, for one model or for two on the same rows.

Each metric is computed from weights, so that a resample is a row of counts over rows prepared only once.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from merit.tasks import METRICS

Array = NDArray[np.float64]
Measure = Callable[[Array], dict[str, Array]]

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


class Scored(ABC):
    """Predictions beside the truth, laid out once for any number of resamples.

    Attributes:
        task: whose metrics these are.
        rows: how many there are.
        order: the order in which weights are given.
    """

    task: ClassVar[str]
    rows: int
    order: NDArray[np.intp]

    @abstractmethod
    def measure(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], given in the order of `self.order`.

        A metric is NaN where it has no meaning, and everywhere if a prediction is no number.
        """

    def point(self) -> dict[str, float]:
        """Return each metric on the rows as they are."""
        found = self.measure(np.ones((1, self.rows)), tuple(METRICS[self.task]))
        return {name: float(values[0]) for name, values in found.items()}


def estimate(scored: Scored, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN values where a metric has no meaning on these rows."""
    # Each row is drawn alike, so the order in which they are counted makes no difference to one model.
    names = tuple(METRICS[scored.task])
    drawn = _bootstrap(lambda weights: scored.measure(weights, names), scored.rows, count, seed)
    return {name: _interval(value, drawn[name], confidence) for name, value in scored.point().items()}


def compare(
    candidate: Scored, rival: Scored, names: Sequence[str], *, count: int, confidence: float, seed: int
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
