"""Slice check: whether the candidate is worse than the champion on a subset of the test rows."""

import math
from collections import Counter

from merit.gate.champion import describe_missing_champion
from merit.gate.checks.model.limits import PRACTICALLY_SAME, UNDEFINED_METRIC_ADVICE, Limit
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.slice_comparison import Slice
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

NAME = "slices"
MAX_NAMED_SLICES = 3
"""Slices that the check lists by name."""


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the check over all slices; none if none are declared, or the candidate is the champion."""
    if evidence.lock.gate.slices is None or not evidence.lock.evaluate.slices:
        return {}
    if evidence.slices:
        return {NAME: check_slices}
    return {} if evidence.champion_comparison.is_same_model else {NAME: _report_no_comparison}


def _report_no_comparison(evidence: Evidence) -> CheckResult:
    reason = describe_missing_champion() if evidence.champion is None else "the champion can't be scored"
    return CheckResult("", Verdict.NOT_APPLICABLE, reason, "nothing to compare with")


def check_slices(evidence: Evidence) -> CheckResult:
    """Check that the candidate is worse than the champion on no slice."""
    rule, judged_slices = evidence.lock.gate.slices, evidence.slices
    assert rule is not None
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
    summary, advice = _summarize_slices(evidence, worse), _choose_advice(evidence, worse, min_rows)
    return CheckResult("", verdict, summary, allowed, advice, rows_needed=min_rows)


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


def _choose_advice(evidence: Evidence, worse: list[Slice], min_rows: int | None) -> str:
    """Return the advice for the worst slice."""
    if not worse:
        return "no slice has rows enough to be judged: lower evaluate.slice_min_rows, or judge on more test rows"
    if worse[0].verdict == Verdict.FAIL:
        return "look at what the candidate does on these rows: fewer or other training rows there, or other labels"
    if any(math.isnan(_get_difference(each)) for each in worse):
        return UNDEFINED_METRIC_ADVICE
    if min_rows is None:
        return f"worse there by the margin or {PRACTICALLY_SAME}: look at what the candidate does on these rows"
    return (
        f"worse there, but not surely by more than the margin: {evidence.size.describe_rows(min_rows)} would settle it"
    )


FAMILY = CheckFamily(140, build_checks, list_conditional_names=lambda _: [NAME])
