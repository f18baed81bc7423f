"""Checks of an estimate with its interval against a limit; every metric is judged this way."""

import math
from dataclasses import dataclass

from merit.config.schema.gate import MetricMargin
from merit.gate.evidence import Evidence
from merit.gate.verdict import (
    MAX_ROWS_FACTOR,
    Check,
    SampleSize,
    Verdict,
    check_at_least,
    check_at_most,
    estimate_rows_needed,
)
from merit.metrics import MIN_UNITS, Estimate

UNDEFINED_METRIC_ADVICE = "the metric gives no number on these rows: judge on others, or by another metric"
PRACTICALLY_SAME = f"the same for practical purposes ({MAX_ROWS_FACTOR} times the test rows would not settle it)"
"""Text for a value so near its limit that more rows would not decide it."""


@dataclass(frozen=True)
class Limit:
    """The worst acceptable value.

    Attributes:
        value: the limit.
        is_lower_bound: whether it is a lower bound, because higher is better.
        is_difference: whether it limits a difference, which is shown with its sign.
    """

    value: float
    is_lower_bound: bool
    is_difference: bool = False

    def __str__(self) -> str:
        """Return the limit as a report shows it."""
        return f"{'at least' if self.is_lower_bound else 'at most'} {self.value:{'+' if self.is_difference else ''}g}"


def check_limit(name: str, estimate: Estimate, limit: Limit, *, size: SampleSize, advice: str) -> Check:
    """Check an estimate against a limit.

    The check passes if the whole interval is on the good side of the limit, fails if it is on the bad side, and is
    inconclusive if it contains the limit.

    Args:
        name: the name of the check.
        estimate: the estimate.
        limit: the worst value allowed.
        size: the sample behind the estimate.
        advice: what to do if the check fails.
    """
    verdict = (check_at_least if limit.is_lower_bound else check_at_most)(estimate, limit.value)
    text = format_estimate(estimate, signed=limit.is_difference)
    if verdict != Verdict.INCONCLUSIVE:
        return Check(name, verdict, text, str(limit), advice)
    min_rows = estimate_rows_needed(estimate, limit.value, size.rows)
    return Check(name, verdict, text, str(limit), advise_undecided(estimate, min_rows, size), rows_needed=min_rows)


def advise_undecided(estimate: Estimate, min_rows: int | None, size: SampleSize) -> str:
    """Return the advice for an interval that contains its limit: more rows, or a better model if rows can't help."""
    if math.isnan(estimate.value) or math.isnan(estimate.low):
        return advise_undefined(size)
    if min_rows is None:
        return f"the value and its limit are {PRACTICALLY_SAME}: improve the model"
    return f"the interval lies on both sides of the limit: {size.describe_rows(min_rows)} would settle it"


def advise_undefined(size: SampleSize) -> str:
    """Return the advice for a metric without an interval: other rows, or more blocks."""
    if size.units < MIN_UNITS:
        return f"the test rows form {size.units} block ({size.name}): judge on more, or declare evaluate.blocks"
    return UNDEFINED_METRIC_ADVICE


def check_no_worse(name: str, difference: Estimate, evidence: Evidence, rule: MetricMargin, advice: str) -> Check:
    """Check a difference for non-inferiority: its whole interval must lie on the good side of the margin."""
    higher_is_better = evidence.is_higher_better(rule.metric)
    limit = Limit(
        -rule.margin if higher_is_better else rule.margin, is_lower_bound=higher_is_better, is_difference=True
    )
    return check_limit(name, difference, limit, size=evidence.size, advice=advice)


def format_estimate(estimate: Estimate, *, signed: bool = False) -> str:
    """Return an estimate with its interval as text."""
    number_format = "+.4f" if signed else ".4f"
    return f"{estimate.value:{number_format}} [{estimate.low:{number_format}}, {estimate.high:{number_format}}]"
