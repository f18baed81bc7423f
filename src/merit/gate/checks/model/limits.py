"""Checks of an estimate with its interval against a limit; every metric is judged this way."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from merit.config.schema.gate import MetricMargin
from merit.gate.evidence import Evidence
from merit.gate.verdict import (
    MAX_ROWS_FACTOR,
    Check,
    SampleSize,
    Verdict,
    check_at_least,
    check_at_most,
    check_no_worse_than,
    estimate_rows_needed,
    round_up,
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


def check_no_worse(
    difference: Estimate, evidence: Evidence, rule: MetricMargin, advice: str, *, size: SampleSize | None = None
) -> Check:
    """Check that a model is no worse than another by more than a margin (`check_no_worse_than`).

    Args:
        difference: the difference of the metric, candidate minus rival.
        evidence: the input of the checks.
        rule: the metric and the margin.
        advice: what to do if the check fails.
        size: the sample behind the difference; None for all test rows.
    """
    size = size or evidence.size
    higher_is_better = evidence.is_higher_better(rule.metric)
    value, low, high = difference.value, difference.low, difference.high
    loss = Estimate(-value, -high, -low) if higher_is_better else difference
    verdict = check_no_worse_than(loss, rule.margin)
    limit = Limit(
        -rule.margin if higher_is_better else rule.margin, is_lower_bound=higher_is_better, is_difference=True
    )
    found = f"{format_estimate(difference, signed=True)}{_describe_power(loss, rule.margin, evidence)}"
    if verdict != Verdict.INCONCLUSIVE:
        return Check("", verdict, found, str(limit), advice)
    min_rows = _estimate_rows_for_precision(loss, rule.margin, size.rows)
    return Check("", verdict, found, str(limit), _advise_imprecise(loss, min_rows, size), rows_needed=min_rows)


def _describe_power(loss: Estimate, margin: float, evidence: Evidence) -> str:
    """Return how surely a model that is worse by twice the margin would be refused."""
    deviation = (loss.high - loss.value) / NormalDist().inv_cdf(evidence.bound_confidence)
    if not deviation > 0 or margin == 0:  # written so that NaN gives nothing too
        return ""
    return f"; a model worse by {2 * margin:g} would be refused with {NormalDist().cdf(margin / deviation):.0%}"


def _estimate_rows_for_precision(loss: Estimate, margin: float, rows: int) -> int | None:
    """Return the rows at which the interval reaches no further than the margin, so that the value decides."""
    reach = loss.high - loss.value
    factor = (reach / margin) ** 2 if margin > 0 else math.inf
    return round_up(rows * factor) if 1 < factor <= MAX_ROWS_FACTOR else None


def _advise_imprecise(loss: Estimate, min_rows: int | None, size: SampleSize) -> str:
    if math.isnan(loss.value) or math.isnan(loss.high):
        return advise_undefined(size)
    reach = f"differences below {loss.high - loss.value:.2g} can't be told from noise"
    if min_rows is None:
        return f"{reach}: allow a wider margin, or judge on more rows"
    return f"{reach}: {size.describe_rows(min_rows)} would settle it, or more evaluate.seeds, or a wider margin"


def format_estimate(estimate: Estimate, *, signed: bool = False) -> str:
    """Return an estimate with its interval as text."""
    number_format = "+.4f" if signed else ".4f"
    return f"{estimate.value:{number_format}} [{estimate.low:{number_format}}, {estimate.high:{number_format}}]"
