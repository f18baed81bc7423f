"""Compares the candidate with the champion on each slice of the test rows.

With many slices some differ by chance, so each interval has the confidence 1 - (1 - c) / slices (Bonferroni), which
gives all of them together the confidence c. So far out in the tails a bootstrap has too few draws: the standard
deviation is taken from the middle of the draws, and the interval is Student's, for as many blocks as the slice has.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.config.schema.gate import SliceRule
from merit.gate.verdict import Verdict, check_at_least, estimate_rows_needed
from merit.metrics import Estimate, Metric, Resampling, compare_models, prepare_metrics
from merit.metrics.bootstrap import get_t_quantile

ONE_DEVIATION_CONFIDENCE = 2 * NormalDist().cdf(1) - 1
"""The share of a normal distribution within one standard deviation."""


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column, and the candidate's difference from the champion on them.

    Attributes:
        column: the column.
        value: its value as text; None for missing values.
        rows: the number of rows.
        units: the number of blocks that they form; the rows themselves where they are independent.
        difference: candidate minus champion; None if there are too few rows, or the metric is undefined on them.
        verdict: the verdict on the difference; None if there is no difference.
        rows_needed: the test rows, of all slices, that would decide an inconclusive verdict.
    """

    column: str
    value: str | None
    rows: int
    units: int
    difference: Estimate | None = None
    verdict: Verdict | None = None
    rows_needed: int | None = None

    def __str__(self) -> str:
        """Return the slice and its difference as a report shows them."""
        assert self.difference is not None
        difference = self.difference
        return f"{self.column} {self.value} {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


@dataclass(frozen=True)
class SliceComparison:
    """What is compared on each slice.

    Attributes:
        lock: the parsed params.yaml.
        rule: `gate.slices`: the metric, and by how much it may be worse.
        higher_is_better: whether a higher value of that metric is better.
        rows: the raw test rows.
        target: 0 or 1, the index of the class, or the number, [rows].
        candidate: the candidate's predictions of the rows.
        champion: the champion's predictions of the rows.
        own_metrics: the project's own metrics by name.
        blocks: the block of each row; None if rows are independent.
    """

    lock: Lock
    rule: SliceRule
    higher_is_better: bool
    rows: pl.DataFrame
    target: NDArray[Any]
    candidate: NDArray[Any]
    champion: NDArray[Any]
    own_metrics: Mapping[str, Metric]
    blocks: NDArray[np.intp] | None = None


def judge_slices(comparison: SliceComparison) -> list[Slice]:
    """Return every slice of evaluate.slices, with a verdict if it has enough rows."""
    rows = comparison.rows
    measured = [
        _measure_slice(comparison, column, value, rows[column].eq_missing(value).to_numpy())
        for column in comparison.lock.evaluate.slices
        for value in rows[column].unique().sort().to_list()
    ]
    count = sum(each.difference is not None for each in measured)
    return [_judge_slice(comparison, each, count) for each in measured]


def _measure_slice(comparison: SliceComparison, column: str, value: Any, mask: NDArray[np.bool_]) -> Slice:
    """Return a slice with its difference and an interval of one standard deviation to either side."""
    lock, count = comparison.lock, int(mask.sum())
    resampling = Resampling(
        lock.evaluate.slice_resamples, ONE_DEVIATION_CONFIDENCE, lock.seed, comparison.blocks
    ).select_rows(mask)
    result = Slice(column, None if value is None else str(value), count, resampling.count_units(count))
    if result.rows < lock.evaluate.slice_min_rows:
        return result
    rule, task = comparison.rule, lock.data.target.task
    target = comparison.target[mask]
    candidate_metrics, champion_metrics = (
        prepare_metrics(task, target, each[mask], comparison.own_metrics)
        for each in (comparison.candidate, comparison.champion)
    )
    difference = compare_models([candidate_metrics], [champion_metrics], [rule.metric], resampling)[rule.metric]
    is_undefined = math.isnan(difference.low) and candidate_metrics.is_finite and champion_metrics.is_finite
    return result if is_undefined else replace(result, difference=difference)


def _judge_slice(comparison: SliceComparison, measured: Slice, count: int) -> Slice:
    """Return a slice with its verdict.

    It fails if it is significantly worse by more than the margin, and is inconclusive if it is significantly worse but
    not significantly beyond the margin. Any other slice passes: the check on all rows judges non-inferiority overall.
    """
    rule = comparison.rule
    if measured.difference is None:
        return measured
    confidence = 1 - (1 - comparison.lock.gate.confidence) / count
    widened = _widen_interval(measured.difference, _compute_reach(confidence, measured.units))
    better = widened if comparison.higher_is_better else Estimate(-widened.value, -widened.high, -widened.low)
    verdict = check_at_least(better, -rule.margin)
    if verdict == Verdict.INCONCLUSIVE and better.high >= 0:
        verdict = Verdict.PASS
    # Scaled to the whole test part, of which the slice is a fixed share.
    min_rows = (
        estimate_rows_needed(better, -rule.margin, comparison.rows.height) if verdict == Verdict.INCONCLUSIVE else None
    )
    return replace(measured, difference=widened, verdict=verdict, rows_needed=min_rows)


@cache
def _compute_reach(confidence: float, units: int) -> float:
    """Return by what factor an interval of ONE_DEVIATION_CONFIDENCE must be widened for another confidence."""
    return get_t_quantile(units - 1, confidence) / get_t_quantile(units - 1, ONE_DEVIATION_CONFIDENCE)


def _widen_interval(interval: Estimate, reach: float) -> Estimate:
    """Return an interval of one standard deviation widened to `reach` of them."""
    half = reach * (interval.high - interval.low) / 2
    return Estimate(interval.value, interval.value - half, interval.value + half)
