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

from merit.gate.checks.model.limits import NO_NUMBER, SAME, Limit
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict, at_least, rows_needed
from merit.metrics import Estimate, compare, scored

MIDDLE = 2 * NormalDist().cdf(1) - 1
"""The share of a normal distribution within one standard deviation."""
NAMED = 3
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
        found = self.difference
        return f"{self.column} {self.value} {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def judged(evidence: Evidence) -> list[Slice]:
    """Return every slice of evaluate.slices, with a verdict if it has enough rows.

    Without a champion to compare with, or without `gate.slices`, the list is empty.
    """
    rule, theirs = evidence.lock.gate.slices, evidence.rivalry.predictions
    if rule is None or theirs is None:
        return []
    members = [
        (column, value, evidence.rows[column].eq_missing(value).to_numpy())
        for column in evidence.lock.evaluate.slices
        for value in evidence.rows[column].unique().sort().to_list()
    ]
    found = [_measured(evidence, theirs, *each) for each in members]
    count = sum(each.difference is not None for each in found)
    return [_judged(evidence, each, count) for each in found]


def _measured(evidence: Evidence, theirs: Any, column: str, value: Any, inside: Any) -> Slice:
    """Return a slice with its difference and an interval of one standard deviation to either side."""
    made = Slice(column, None if value is None else str(value), int(inside.sum()))
    if made.rows < evidence.lock.evaluate.slice_min_rows:
        return made
    rule, task = evidence.lock.gate.slices, evidence.lock.data.target.task
    assert rule is not None
    target = evidence.target[inside]
    ours, others = (scored(task, target, each[inside], evidence.own) for each in (evidence.candidate, theirs))
    count, seed = evidence.lock.evaluate.slice_resamples, evidence.lock.seed
    found = compare(ours, others, [rule.metric], count=count, confidence=MIDDLE, seed=seed)[rule.metric]
    has_none = math.isnan(found.low) and ours.known and others.known
    return made if has_none else replace(made, difference=found)


def _judged(evidence: Evidence, each: Slice, count: int) -> Slice:
    """Return a slice with its verdict.

    It fails if it is significantly worse by more than the margin, and is inconclusive if it is significantly worse but
    not significantly beyond the margin. Any other slice passes: the check on all rows judges non-inferiority overall.
    """
    rule = evidence.lock.gate.slices
    if rule is None or each.difference is None:
        return each
    sign = 1 if evidence.is_better_higher(rule.metric) else -1
    found = _widened(each.difference, _reach(1 - (1 - evidence.lock.gate.confidence) / count))
    better = found if sign > 0 else Estimate(-found.value, -found.high, -found.low)
    verdict = at_least(better, -rule.margin)
    if verdict == Verdict.INCONCLUSIVE and better.high >= 0:
        verdict = Verdict.PASS
    # Scaled to the whole test part, of which the slice is a fixed share.
    needed = rows_needed(better, -rule.margin, evidence.rows.height) if verdict == Verdict.INCONCLUSIVE else None
    return replace(each, difference=found, verdict=verdict, rows_needed=needed)


@cache
def _reach(confidence: float) -> float:
    """Return the half-width of a normal distribution's interval, in standard deviations."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _widened(found: Estimate, reach: float) -> Estimate:
    """Return an interval of one standard deviation widened to `reach` of them."""
    half = reach * (found.high - found.low) / 2
    return Estimate(found.value, found.value - half, found.value + half)


def check(evidence: Evidence) -> list[Check]:
    """Return the check over all slices; no check if nothing is compared."""
    rule, found = evidence.lock.gate.slices, evidence.slices
    if rule is None or not found:
        return []
    higher = evidence.is_better_higher(rule.metric)
    worse = [each for each in found if each.verdict in {Verdict.FAIL, Verdict.INCONCLUSIVE}]
    worse.sort(key=lambda each: (each.verdict != Verdict.FAIL, _value(each) if higher else -_value(each)))
    verdict = worse[0].verdict if worse else Verdict.PASS
    if verdict is None or all(each.verdict is None for each in found):
        verdict = Verdict.INCONCLUSIVE
    limit = Limit(-rule.margin if higher else rule.margin, is_least=higher, signed=True)
    needed = _rows_needed(worse)
    allowed = f"{rule.metric} {limit}, none surely worse"
    return [Check("slices", verdict, _told(evidence, worse), allowed, _advice(worse, needed), rows_needed=needed)]


def _rows_needed(worse: list[Slice]) -> int | None:
    """Return the test rows that would decide every inconclusive slice; None if one would stay inconclusive."""
    needed = [each.rows_needed for each in worse if each.verdict == Verdict.INCONCLUSIVE]
    known = [count for count in needed if count is not None]
    return max(known) if known and len(known) == len(needed) else None


def _value(each: Slice) -> float:
    return each.difference.value if each.difference is not None else math.nan


def _told(evidence: Evidence, worse: list[Slice]) -> str:
    """Return a summary: the worse slices by name, and how many slices were judged or left out."""
    least = evidence.lock.evaluate.slice_min_rows
    counts = Counter(_kind(evidence, each) for each in evidence.slices)
    parts = [f"{sum(each.verdict is not None for each in evidence.slices)} slices judged"]
    parts += [f"{counts['unsure']} of them too small to rule the margin out"] if counts["unsure"] else []
    parts += [f"{counts['small']} not judged (fewer than {least} rows)"] if counts["small"] else []
    parts += [f"{counts['meaningless']} not judged (the metric has no meaning there)"] if counts["meaningless"] else []
    told = ", ".join(parts)
    if not worse:
        return told
    more = f" and {len(worse) - NAMED} more" if len(worse) > NAMED else ""
    return f"worse on {', '.join(map(str, worse[:NAMED]))}{more}; {told}"


def _kind(evidence: Evidence, each: Slice) -> str:
    """Return why a slice has no verdict (`small`, `meaningless`), or whether a pass rules the margin out."""
    if each.verdict is None:
        return "small" if each.rows < evidence.lock.evaluate.slice_min_rows else "meaningless"
    rule, found = evidence.lock.gate.slices, each.difference
    assert rule is not None
    assert found is not None
    is_within = found.low >= -rule.margin if evidence.is_better_higher(rule.metric) else found.high <= rule.margin
    return "sure" if is_within or each.verdict != Verdict.PASS else "unsure"


def _advice(worse: list[Slice], needed: int | None) -> str:
    """Return the advice for the worst slice."""
    if not worse:
        return "no slice has rows enough to be judged: lower evaluate.slice_min_rows, or judge on more test rows"
    if worse[0].verdict == Verdict.FAIL:
        return "look at what the candidate does on these rows: fewer or other training rows there, or other labels"
    if any(math.isnan(_value(each)) for each in worse):
        return NO_NUMBER
    if needed is None:
        return f"worse there by the margin or {SAME}: look at what the candidate does on these rows"
    return f"worse there, but not surely by more than the margin: about {needed:,} test rows would settle it"
