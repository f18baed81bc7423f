"""Bootstrap intervals of metrics, for one model or for the difference of two on the same rows.

Metrics are functions of row weights: a resample is a vector of counts, and the rows are prepared only once.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from merit.config.tasks import METRICS
from merit.errors import MeritError

Array = NDArray[np.float64]
Measure = Callable[[Array], dict[str, Array]]

CELLS = 120_000
"""Weights in a block of resamples: one thread's block of this size about fits the processor's cache."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the sample, and its percentile bootstrap interval (Efron 1979)."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return value and bounds for JSON, which has no NaN: those are None."""
        return {name: None if math.isnan(number) else number for name, number in vars(self).items()}


class Metric(Protocol):
    """A custom metric of a project, named in evaluate.metrics.

    Example:
        class Accuracy:
            higher_is_better = True

            def __call__(self, target, prediction, weights):
                return np.average((prediction > 0.5) == target, weights=weights)
    """

    higher_is_better: bool

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any], weights: Array) -> float:
        """Return the metric over weighted rows.

        Args:
            target: [rows]: 0 or 1; the index of the class; or the number itself.
            prediction: [rows] probabilities; [rows, classes] probabilities; or [rows] numbers.
            weights: the number of times that each row counts, [rows].
        """


class Scored(ABC):
    """Targets and predictions, prepared once so that metrics of many resamples are cheap.

    Attributes:
        task: the task whose metrics are computed.
        rows: the number of rows.
        order: the row order that the columns of weights must have.
        known: whether every prediction is finite.
        own: custom metrics of the project, by name.
        given: target and prediction, sorted by `order`.
    """

    task: ClassVar[str]
    rows: int
    order: NDArray[np.intp]
    known: bool
    own: Mapping[str, Metric] = MappingProxyType({})
    given: tuple[NDArray[Any], NDArray[Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all metrics."""
        return (*METRICS[self.task], *self.own)

    @abstractmethod
    def _measured(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the task's metrics for each row of `weights`."""

    def measure(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], whose columns are in the order of `self.order`.

        A metric is NaN where it is undefined, and every metric is NaN if a prediction is not finite.
        """
        if not self.known:
            return {name: np.full(len(weights), np.nan) for name in names}
        found = self._measured(weights, [name for name in names if name not in self.own])
        return {name: found[name] if name in found else self._own(name, weights) for name in names}

    def _own(self, name: str, weights: Array) -> Array:
        return np.array([_called(name, self.own[name], *self.given, each) for each in weights])

    def point(self) -> dict[str, float]:
        """Return each metric on the sample itself, without resampling."""
        found = self.measure(np.ones((1, self.rows)), self.names)
        return {name: float(values[0]) for name, values in found.items()}


def _called(name: str, metric: Metric, *arguments: Array) -> float:
    """Return what a custom metric gives, as a float.

    Raises:
        MeritError: it takes other arguments, or returns something that is no number.
    """
    try:
        given = metric(*arguments)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # raised inside the metric, not by the call
        raise MeritError(f"evaluate.metrics.{name}: takes no target, prediction, weights: {error}") from error
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise MeritError(f"evaluate.metrics.{name}: gave {given!r:.80}; it must give a number") from error


def estimate(scored: Scored, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN where a metric is undefined on these rows."""
    # Rows are drawn with equal probability, so for one model the draws needn't be permuted to `scored.order`.
    drawn = _bootstrap(lambda weights: scored.measure(weights, scored.names), scored.rows, count, seed)
    return {name: _interval(value, drawn[name], confidence) for name, value in scored.point().items()}


def compare(
    candidate: Scored, rival: Scored, names: Sequence[str], *, count: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Return candidate minus rival for each metric in `names`, paired: both are measured on the same resamples."""
    # Draws are in the candidate's row order; for the rival they are permuted to its own.
    place = np.argsort(candidate.order)[rival.order]

    def difference(weights: Array) -> dict[str, Array]:
        ours = candidate.measure(weights, names)
        theirs = rival.measure(np.take(weights, place, axis=1), names)
        return {name: ours[name] - theirs[name] for name in ours}

    drawn = _bootstrap(difference, candidate.rows, count, seed)
    ours, theirs = candidate.point(), rival.point()
    return {name: _interval(ours[name] - theirs[name], drawn[name], confidence) for name in names}


def _bootstrap(measure: Measure, rows: int, count: int, seed: int) -> dict[str, Array]:
    """Return the metrics of `count` resamples, [count] each.

    Resamples are drawn in blocks, each with its own seed, so the result doesn't depend on the number of threads.
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
    """Draw `size` resamples and return how often each contains each row, [size, rows]."""
    made = np.empty((size, rows))
    for place, drawn in enumerate(generator.integers(0, rows, (size, rows), dtype=np.uint32)):
        made[place] = np.bincount(drawn, minlength=rows)
    return made


def _interval(value: float, drawn: Array, confidence: float) -> Estimate:
    """Return the percentile interval; resamples on which the metric is undefined are left out."""
    if np.isnan(value) or np.isnan(drawn).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))
