"""Slice check: whether the candidate is worse than the champion on a subset of the test rows.

With many slices some differ by chance, so each interval has the confidence 1 - (1 - c) / slices (Bonferroni), which
gives all of them together the confidence c. So far out in the tails a bootstrap has too few draws: the standard
deviation is taken from the middle of the draws, and the interval is that of a normal distribution.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Any

from merit.gate.checks.model.limits import PRACTICALLY_SAME, UNDEFINED_METRIC_ADVICE, Limit
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict, check_at_least, estimate_rows_needed
from merit.metrics import Estimate, compare_models, prepare_metrics

ONE_DEVIATION_CONFIDENCE = 2 * NormalDist().cdf(1) - 1
"""The share of a normal distribution within one standard deviation."""
MAX_NAMED_SLICES = 3
"""Slices that the check lists by name."""


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column, and the candidate's difference from the champion on them.

    Attributes:
        column: the column.
        value: its value as text; None for missing values.
        rows: the number of rows.
        difference: candidate minus champion; None if there are too few rows, or the metric is undefined on them.
        verdict: the verdict on the difference; None if there is no difference.
        rows_needed: the test rows, of all slices, that would decide an inconclusive verdict.
    """

    column: str
    value: str | None
    rows: int
    difference: Estimate | None = None
    verdict: Verdict | None = None
    rows_needed: int | None = None

    def __str__(self) -> str:
        """Return the slice and its difference as a report shows them."""
        assert self.difference is not None
        difference = self.difference
        return f"{self.column} {self.value} {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def judge_slices(evidence: Evidence) -> list[Slice]:
    """Return every slice of evaluate.slices, with a verdict if it has enough rows.

    Without a champion to compare with, or without `gate.slices`, the list is empty.
    """
    rule, champion = evidence.lock.gate.slices, evidence.champion_comparison.predictions
    if rule is None or champion is None:
        return []
    members = [
        (column, value, evidence.rows[column].eq_missing(value).to_numpy())
        for column in evidence.lock.evaluate.slices
        for value in evidence.rows[column].unique().sort().to_list()
    ]
    measured = [_measure_slice(evidence, champion, *each) for each in members]
    count = sum(each.difference is not None for each in measured)
    return [_judge_slice(evidence, each, count) for each in measured]


def _measure_slice(evidence: Evidence, champion: Any, column: str, value: Any, mask: Any) -> Slice:
    """Return a slice with its difference and an interval of one standard deviation to either side."""
    result = Slice(column, None if value is None else str(value), int(mask.sum()))
    if result.rows < evidence.lock.evaluate.slice_min_rows:
        return result
    rule, task = evidence.lock.gate.slices, evidence.lock.data.target.task
    assert rule is not None
    target = evidence.target[mask]
    candidate_metrics, champion_metrics = (
        prepare_metrics(task, target, each[mask], evidence.own_metrics) for each in (evidence.candidate, champion)
    )
    count, seed = evidence.lock.evaluate.slice_resamples, evidence.lock.seed
    difference = compare_models(
        candidate_metrics, champion_metrics, [rule.metric], count=count, confidence=ONE_DEVIATION_CONFIDENCE, seed=seed
    )[rule.metric]
    is_undefined = math.isnan(difference.low) and candidate_metrics.is_finite and champion_metrics.is_finite
    return result if is_undefined else replace(result, difference=difference)


def _judge_slice(evidence: Evidence, measured: Slice, count: int) -> Slice:
    """Return a slice with its verdict.

    It fails if it is significantly worse by more than the margin, and is inconclusive if it is significantly worse but
    not significantly beyond the margin. Any other slice passes: the check on all rows judges non-inferiority overall.
    """
    rule = evidence.lock.gate.slices
    if rule is None or measured.difference is None:
        return measured
    sign = 1 if evidence.is_higher_better(rule.metric) else -1
    widened = _widen_interval(measured.difference, _compute_reach(1 - (1 - evidence.lock.gate.confidence) / count))
    better = widened if sign > 0 else Estimate(-widened.value, -widened.high, -widened.low)
    verdict = check_at_least(better, -rule.margin)
    if verdict == Verdict.INCONCLUSIVE and better.high >= 0:
        verdict = Verdict.PASS
    # Scaled to the whole test part, of which the slice is a fixed share.
    min_rows = (
        estimate_rows_needed(better, -rule.margin, evidence.rows.height) if verdict == Verdict.INCONCLUSIVE else None
    )
    return replace(measured, difference=widened, verdict=verdict, rows_needed=min_rows)


@cache
def _compute_reach(confidence: float) -> float:
    """Return the half-width of a normal distribution's interval, in standard deviations."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _widen_interval(interval: Estimate, reach: float) -> Estimate:
    """Return an interval of one standard deviation widened to `reach` of them."""
    half = reach * (interval.high - interval.low) / 2
    return Estimate(interval.value, interval.value - half, interval.value + half)


def check_slices(evidence: Evidence) -> list[Check]:
    """Return the check over all slices; no check if nothing is compared."""
    rule, judged_slices = evidence.lock.gate.slices, evidence.slices
    if rule is None or not judged_slices:
        return []
    higher_is_better = evidence.is_higher_better(rule.metric)
    worse = [each for each in judged_slices if each.verdict in {Verdict.FAIL, Verdict.INCONCLUSIVE}]
    worse.sort(
        key=lambda each: (
            each.verdict != Verdict.FAIL,
            _get_difference(each) if higher_is_better else -_get_difference(each),
        )
    )
    verdict = worse[0].verdict if worse else Verdict.PASS
    if verdict is None or all(each.verdict is None for each in judged_slices):
        verdict = Verdict.INCONCLUSIVE
    limit = Limit(
        -rule.margin if higher_is_better else rule.margin, is_lower_bound=higher_is_better, is_difference=True
    )
    min_rows = _count_rows_needed(worse)
    allowed = f"{rule.metric} {limit}, none surely worse"
    return [
        Check(
            "slices",
            verdict,
            _summarize_slices(evidence, worse),
            allowed,
            _choose_advice(worse, min_rows),
            rows_needed=min_rows,
        )
    ]


def _count_rows_needed(worse: list[Slice]) -> int | None:
    """Return the test rows that would decide every inconclusive slice; None if one would stay inconclusive."""
    row_counts = [each.rows_needed for each in worse if each.verdict == Verdict.INCONCLUSIVE]
    known = [count for count in row_counts if count is not None]
    return max(known) if known and len(known) == len(row_counts) else None


def _get_difference(each: Slice) -> float:
    return each.difference.value if each.difference is not None else math.nan


def _summarize_slices(evidence: Evidence, worse: list[Slice]) -> str:
    """Return a summary: the worse slices by name, and how many slices were judged or left out."""
    min_rows = evidence.lock.evaluate.slice_min_rows
    counts = Counter(_classify_slice(evidence, each) for each in evidence.slices)
    parts = [f"{sum(each.verdict is not None for each in evidence.slices)} slices judged"]
    parts += [f"{counts['unsure']} of them too small to rule the margin out"] if counts["unsure"] else []
    parts += [f"{counts['small']} not judged (fewer than {min_rows} rows)"] if counts["small"] else []
    parts += [f"{counts['meaningless']} not judged (the metric has no meaning there)"] if counts["meaningless"] else []
    summary = ", ".join(parts)
    if not worse:
        return summary
    rest = f" and {len(worse) - MAX_NAMED_SLICES} more" if len(worse) > MAX_NAMED_SLICES else ""
    return f"worse on {', '.join(map(str, worse[:MAX_NAMED_SLICES]))}{rest}; {summary}"


def _classify_slice(evidence: Evidence, each: Slice) -> str:
    """Return why a slice has no verdict (`small`, `meaningless`), or whether a pass rules the margin out."""
    if each.verdict is None:
        return "small" if each.rows < evidence.lock.evaluate.slice_min_rows else "meaningless"
    rule, difference = evidence.lock.gate.slices, each.difference
    assert rule is not None
    assert difference is not None
    is_within = (
        difference.low >= -rule.margin if evidence.is_higher_better(rule.metric) else difference.high <= rule.margin
    )
    return "sure" if is_within or each.verdict != Verdict.PASS else "unsure"


def _choose_advice(worse: list[Slice], min_rows: int | None) -> str:
    """Return the advice for the worst slice."""
    if not worse:
        return "no slice has rows enough to be judged: lower evaluate.slice_min_rows, or judge on more test rows"
    if worse[0].verdict == Verdict.FAIL:
        return "look at what the candidate does on these rows: fewer or other training rows there, or other labels"
    if any(math.isnan(_get_difference(each)) for each in worse):
        return UNDEFINED_METRIC_ADVICE
    if min_rows is None:
        return f"worse there by the margin or {PRACTICALLY_SAME}: look at what the candidate does on these rows"
    return f"worse there, but not surely by more than the margin: about {min_rows:,} test rows would settle it"
