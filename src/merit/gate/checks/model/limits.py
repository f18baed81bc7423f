"""Checks of an estimate with its interval against a limit; every metric is judged this way."""

import math
from dataclasses import dataclass

from merit.config.schema.gate import Margin
from merit.gate.evidence import Evidence
from merit.gate.verdict import MOST_TIMES, Check, Verdict, at_least, at_most, rows_needed
from merit.metrics import Estimate

NO_NUMBER = "the metric gives no number on these rows: judge on others, or by another metric"
SAME = f"the same for practical purposes ({MOST_TIMES} times the test rows would not settle it)"
"""Text for a value so near its limit that more rows would not decide it."""


@dataclass(frozen=True)
class Limit:
    """The worst acceptable value.

    Attributes:
        value: the limit.
        is_least: whether it is a lower bound, because higher is better.
        signed: whether it limits a difference, which is shown with its sign.
    """

    value: float
    is_least: bool
    signed: bool = False

    def __str__(self) -> str:
        """Return the limit as a report shows it."""
        return f"{'at least' if self.is_least else 'at most'} {self.value:{'+' if self.signed else ''}g}"


def judged(name: str, found: Estimate, limit: Limit, *, rows: int, advice: str) -> Check:
    """Check an estimate against a limit.

    The check passes if the whole interval is on the good side of the limit, fails if it is on the bad side, and is
    inconclusive if it contains the limit.

    Args:
        name: the name of the check.
        found: the estimate.
        limit: the worst value allowed.
        rows: the number of rows behind the estimate.
        advice: what to do if the check fails.
    """
    verdict = (at_least if limit.is_least else at_most)(found, limit.value)
    told = show(found, signed=limit.signed)
    if verdict != Verdict.INCONCLUSIVE:
        return Check(name, verdict, told, str(limit), advice)
    needed = rows_needed(found, limit.value, rows)
    return Check(name, verdict, told, str(limit), undecided(found, needed), rows_needed=needed)


def undecided(found: Estimate, needed: int | None) -> str:
    """Return the advice for an interval that contains its limit: more rows, or a better model if rows can't help."""
    if math.isnan(found.value) or math.isnan(found.low):
        return NO_NUMBER
    if needed is None:
        return f"the value and its limit are {SAME}: improve the model"
    return f"the interval lies on both sides of the limit: about {needed:,} test rows would settle it"


def no_worse(name: str, found: Estimate, evidence: Evidence, rule: Margin, advice: str) -> Check:
    """Check a difference for non-inferiority: its whole interval must lie on the good side of the margin."""
    higher = evidence.is_better_higher(rule.metric)
    limit = Limit(-rule.margin if higher else rule.margin, is_least=higher, signed=True)
    return judged(name, found, limit, rows=evidence.rows.height, advice=advice)


def show(found: Estimate, *, signed: bool = False) -> str:
    """Return an estimate with its interval as text."""
    form = "+.4f" if signed else ".4f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
