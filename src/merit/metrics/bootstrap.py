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
MeasureFunction = Callable[[Array], dict[str, Array]]

MAX_BLOCK_WEIGHTS = 120_000
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


class TaskMetrics(ABC):
    """Targets and predictions, prepared once so that metrics of many resamples are cheap.

    Attributes:
        task: the task whose metrics are computed.
        rows: the number of rows.
        order: the row order that the columns of weights must have.
        is_finite: whether every prediction is finite.
        custom_metrics: custom metrics of the project, by name.
        target_and_prediction: target and prediction, sorted by `order`.
    """

    task: ClassVar[str]
    rows: int
    order: NDArray[np.intp]
    is_finite: bool
    custom_metrics: Mapping[str, Metric] = MappingProxyType({})
    target_and_prediction: tuple[NDArray[Any], NDArray[Any]]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of all metrics."""
        return (*METRICS[self.task], *self.custom_metrics)

    @abstractmethod
    def _compute_metrics(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the task's metrics for each row of `weights`."""

    def measure(self, weights: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return metrics for each row of `weights` [resamples, rows], whose columns are in the order of `self.order`.

        A metric is NaN where it is undefined, and every metric is NaN if a prediction is not finite.
        """
        if not self.is_finite:
            return {name: np.full(len(weights), np.nan) for name in names}
        results = self._compute_metrics(weights, [name for name in names if name not in self.custom_metrics])
        return {name: results[name] if name in results else self._compute_custom(name, weights) for name in names}

    def _compute_custom(self, name: str, weights: Array) -> Array:
        return np.array(
            [_call_metric(name, self.custom_metrics[name], *self.target_and_prediction, each) for each in weights]
        )

    def compute_point(self) -> dict[str, float]:
        """Return each metric on the sample itself, without resampling."""
        results = self.measure(np.ones((1, self.rows)), self.metric_names)
        return {name: float(values[0]) for name, values in results.items()}


def _call_metric(name: str, metric: Metric, *arguments: Array) -> float:
    """Return what a custom metric gives, as a float.

    Raises:
        MeritError: it takes other arguments, or returns something that is no number.
    """
    try:
        result = metric(*arguments)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # raised inside the metric, not by the call
        raise MeritError(f"evaluate.metrics.{name}: takes no target, prediction, weights: {error}") from error
    try:
        return float(result)
    except (TypeError, ValueError) as error:
        raise MeritError(f"evaluate.metrics.{name}: gave {result!r:.80}; it must give a number") from error


def estimate_intervals(metrics: TaskMetrics, *, count: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN where a metric is undefined on these rows."""
    # Rows are drawn with equal probability, so for one model the draws needn't be permuted to `metrics.order`.
    resampled = _resample(lambda weights: metrics.measure(weights, metrics.metric_names), metrics.rows, count, seed)
    return {
        name: _build_interval(value, resampled[name], confidence) for name, value in metrics.compute_point().items()
    }


def compare_models(
    candidate: TaskMetrics, rival: TaskMetrics, names: Sequence[str], *, count: int, confidence: float, seed: int
) -> dict[str, Estimate]:
    """Return candidate minus rival for each metric in `names`, paired: both are measured on the same resamples."""
    # Draws are in the candidate's row order; for the rival they are permuted to its own.
    permutation = np.argsort(candidate.order)[rival.order]

    def measure_difference(weights: Array) -> dict[str, Array]:
        candidate_values = candidate.measure(weights, names)
        rival_values = rival.measure(np.take(weights, permutation, axis=1), names)
        return {name: candidate_values[name] - rival_values[name] for name in candidate_values}

    resampled = _resample(measure_difference, candidate.rows, count, seed)
    ours, theirs = candidate.compute_point(), rival.compute_point()
    return {name: _build_interval(ours[name] - theirs[name], resampled[name], confidence) for name in names}


def _resample(measure: MeasureFunction, rows: int, count: int, seed: int) -> dict[str, Array]:
    """Return the metrics of `count` resamples, [count] each.

    Resamples are drawn in blocks, each with its own seed, so the result doesn't depend on the number of threads.
    """
    block = max(1, MAX_BLOCK_WEIGHTS // rows)
    sizes = [min(block, count - start) for start in range(0, count, block)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))

    def measure_block(block_seed: np.random.SeedSequence, size: int) -> dict[str, Array]:
        return measure(_draw_counts(np.random.default_rng(block_seed), size, rows))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(measure_block, seeds, sizes))
    return {name: np.concatenate([block_metrics[name] for block_metrics in blocks]) for name in blocks[0]}


def _draw_counts(generator: np.random.Generator, size: int, rows: int) -> Array:
    """Draw `size` resamples and return how often each contains each row, [size, rows]."""
    counts = np.empty((size, rows))
    for index, row_numbers in enumerate(generator.integers(0, rows, (size, rows), dtype=np.uint32)):
        counts[index] = np.bincount(row_numbers, minlength=rows)
    return counts


def _build_interval(value: float, resampled: Array, confidence: float) -> Estimate:
    """Return the percentile interval; resamples on which the metric is undefined are left out."""
    if np.isnan(value) or np.isnan(resampled).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))
