"""Bootstrap intervals of metrics, for one model or for the difference of two on the same rows.

Metrics are functions of row weights: a resample is a vector of counts, and the rows are prepared only once. Rows that
depend on one another, such as the flights of a day, form a block, and whole blocks are resampled.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from merit.config.tasks import METRICS
from merit.errors import MeritError

Array = NDArray[np.float64]
Blocks = NDArray[np.intp]
MeasureFunction = Callable[[Array], dict[str, Array]]

MAX_CHUNK_WEIGHTS = 120_000
"""Weights in a chunk of resamples: one thread's chunk of this size about fits the processor's cache."""


MIN_UNITS = 2
"""The fewest blocks, or rows, of which an interval can be estimated."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value on the sample, and its bootstrap interval; bounds are NaN where it can't be estimated."""

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

    @abstractmethod
    def compute_losses(self) -> Array:
        """Return each row's loss in the rows' own order, [rows]: the log loss, or the squared error."""

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


@dataclass(frozen=True)
class Resampling:
    """How intervals are estimated.

    Attributes:
        count: the number of resamples.
        confidence: the share of samples whose interval contains the metric's expectation.
        seed: the seed of the draws.
        blocks: the block of each row, from 0 to the number of blocks less 1, [rows]; None if rows are independent.
    """

    count: int
    confidence: float
    seed: int
    blocks: Blocks | None = None

    def count_units(self, rows: int) -> int:
        """Return the number of units that are drawn: blocks, or the rows themselves."""
        return rows if self.blocks is None else int(self.blocks.max(initial=-1)) + 1

    def select_rows(self, mask: NDArray[np.bool_]) -> "Resampling":
        """Return the same for a subset of the rows, whose blocks are numbered without gaps."""
        if self.blocks is None:
            return self
        return replace(self, blocks=np.unique(self.blocks[mask], return_inverse=True)[1])


def estimate_intervals(metrics: TaskMetrics, resampling: Resampling) -> dict[str, Estimate]:
    """Return each metric with its interval; NaN where a metric is undefined on these rows."""
    # A row is drawn with equal probability, so for one model draws of rows needn't be put in its order.
    columns = None if resampling.blocks is None else resampling.blocks[metrics.order]

    def measure(counts: Array) -> dict[str, Array]:
        weights = counts if columns is None else np.take(counts, columns, axis=1)
        return metrics.measure(weights, metrics.metric_names)

    units = resampling.count_units(metrics.rows)
    resampled = _resample(measure, units, metrics.rows, resampling)
    return {
        name: _build_interval(value, resampled[name], resampling.confidence, units)
        for name, value in metrics.compute_point().items()
    }


def estimate_mean(values: Array, resampling: Resampling) -> Estimate:
    """Return the mean of a value per row with Student's interval, from the sums over blocks (or rows)."""
    units = resampling.count_units(len(values))
    mean = float(values.mean())
    if units < MIN_UNITS:
        return Estimate(mean, float("nan"), float("nan"))
    errors = values - mean
    sums = errors if resampling.blocks is None else np.bincount(resampling.blocks, errors)
    deviation = math.sqrt(units / (units - 1) * float((sums**2).sum())) / len(values)
    reach = get_t_quantile(units - 1, resampling.confidence) * deviation
    return Estimate(mean, mean - reach, mean + reach)


def compare_models(
    candidates: Sequence[TaskMetrics], rivals: Sequence[TaskMetrics], names: Sequence[str], resampling: Resampling
) -> dict[str, Estimate]:
    """Return the candidates' mean of each metric less the rivals', paired: all are measured on the same resamples.

    The models of a side are one recipe trained with several seeds. The spread between them widens the interval, for
    other seeds would have given another difference.

    Args:
        candidates: one model or several of one recipe, with the same rows.
        rivals: one model or several of another recipe, with these rows.
        names: the metrics to compare.
        resampling: how the interval is estimated; its blocks are in the order of the rows.
    """
    blocks, rows = resampling.blocks, candidates[0].rows
    sides = [
        [(each, each.order if blocks is None else blocks[each.order]) for each in side] for side in (candidates, rivals)
    ]

    def measure_difference(counts: Array) -> dict[str, Array]:
        measured = [[each.measure(np.take(counts, columns, axis=1), names) for each, columns in side] for side in sides]
        means = [{name: np.mean([each[name] for each in side], axis=0) for name in names} for side in measured]
        return {name: means[0][name] - means[1][name] for name in names}

    units = resampling.count_units(rows)
    resampled = _resample(measure_difference, units, rows, resampling)
    points = [[each.compute_point() for each in side] for side in (candidates, rivals)]
    differences = {}
    for name in names:
        values = [[point[name] for point in side] for side in points]
        difference = float(np.mean(values[0]) - np.mean(values[1]))
        interval = _build_interval(difference, resampled[name], resampling.confidence, units)
        differences[name] = _widen_interval(interval, compute_seed_reach(values, resampling.confidence))
    return differences


def compute_seed_reach(sides: Sequence[Sequence[float]], confidence: float) -> float:
    """Return how far a difference of means may be off because of the seeds: half the width of Student's interval.

    The variance between seeds is taken to be the same on both sides, and pooled. It is 0 where no side has two seeds.

    Args:
        sides: a metric of each seed of the candidate, and of each seed of the rival.
        confidence: the share of draws of seeds whose interval contains the expectation.
    """
    freedom = sum(len(side) - 1 for side in sides)
    if freedom == 0:
        return 0.0
    variance = sum(np.var(side) * len(side) for side in sides) / freedom
    return float(get_t_quantile(freedom, confidence) * np.sqrt(variance * sum(1 / len(side) for side in sides)))


def _widen_interval(estimate: Estimate, reach: float) -> Estimate:
    """Return the interval with an independent error added: half-widths add up as squares do."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return Estimate(
        estimate.value, estimate.value - math.hypot(below, reach), estimate.value + math.hypot(above, reach)
    )


def _resample(measure: MeasureFunction, units: int, rows: int, resampling: Resampling) -> dict[str, Array]:
    """Return the metrics of the resamples, [count] each.

    Resamples are drawn in chunks, each with its own seed, so the result doesn't depend on the number of threads.

    Args:
        measure: measures metrics from how often each resample contains each unit, [resamples, units].
        units: the number of blocks, or of rows.
        rows: the number of rows.
        resampling: how many resamples, and by which seed.
    """
    chunk = max(1, MAX_CHUNK_WEIGHTS // rows)
    sizes = [min(chunk, resampling.count - start) for start in range(0, resampling.count, chunk)]
    seeds = np.random.SeedSequence(resampling.seed).spawn(len(sizes))

    def measure_chunk(chunk_seed: np.random.SeedSequence, size: int) -> dict[str, Array]:
        return measure(_draw_counts(np.random.default_rng(chunk_seed), size, units))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(measure_chunk, seeds, sizes))
    return {name: np.concatenate([chunk_metrics[name] for chunk_metrics in chunks]) for name in chunks[0]}


def _draw_counts(generator: np.random.Generator, size: int, units: int) -> Array:
    """Draw `size` resamples and return how often each contains each unit, [size, units]."""
    counts = np.empty((size, units))
    for index, drawn in enumerate(generator.integers(0, units, (size, units), dtype=np.uint32)):
        counts[index] = np.bincount(drawn, minlength=units)
    return counts


def _build_interval(value: float, resampled: Array, confidence: float, units: int) -> Estimate:
    """Return the expanded percentile interval; resamples on which the metric is undefined are left out.

    A percentile interval is that of a normal distribution whose variance is known. Of few units the variance is too
    small by (units - 1) / units and itself uncertain, so quantiles further out are taken: those at which a normal
    distribution lies as far from its mean as Student's, widened by that factor (Hesterberg 2015, "What teachers should
    know about the bootstrap").
    """
    if units < MIN_UNITS or np.isnan(value) or np.isnan(resampled).all():
        return Estimate(value, float("nan"), float("nan"))
    reach = math.sqrt(units / (units - 1)) * get_t_quantile(units - 1, confidence)
    tail = NormalDist().cdf(-reach)
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def get_t_quantile(freedom: int, confidence: float) -> float:
    """Return how far the central share `confidence` of Student's distribution reaches."""
    from scipy.special import stdtrit  # takes a while to import, and serving needs none of it

    return float(stdtrit(freedom, (1 + confidence) / 2))
