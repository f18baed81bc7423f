"""A value with its interval against a limit, as a check: the one way in which every metric is judged."""

import math
from dataclasses import dataclass

from merit.config.schema.gate import Margin
from merit.gate.evidence import Evidence
from merit.gate.verdict import MOST_TIMES, Check, Verdict, at_least, at_most, rows_needed
from merit.metrics import Estimate

NO_NUMBER = "the metric gives no number on these rows: judge on others, or by another metric"
SAME = f"the same for practical purposes ({MOST_TIMES} times the test rows would not settle it)"
"""What is said of a value that lies so near to its limit that rows are no remedy."""


@dataclass(frozen=True)
class Limit:
    """The worst acceptable value.

    Attributes:
        value: itself.
        is_least: whether more is better.
        signed: whether it is of a difference.
    """

    value: float
    is_least: bool
    signed: bool = False

    def __str__(self) -> str:
        """Return it as a report shows it."""
        return f"{'at least' if self.is_least else 'at most'} {self.value:{'+' if self.signed else ''}g}"


def judged(name: str, found: Estimate, limit: Limit, *, rows: int, advice: str) -> Check:
    """Return what an interval says of a limit: on its good side passes, on the bad one fails, on both decides nothing.

    Args:
        name: of the check.
        found: what was measured.
        limit: what is allowed.
        rows: that it was measured on.
        advice: what to do if it fails.
    """
    verdict = (at_least if limit.is_least else at_most)(found, limit.value)
    told = show(found, signed=limit.signed)
    if verdict != Verdict.INCONCLUSIVE:
        return Check(name, verdict, told, str(limit), advice)
    needed = rows_needed(found, limit.value, rows)
    return Check(name, verdict, told, str(limit), undecided(found, needed), rows_needed=needed)


def undecided(found: Estimate, needed: int | None) -> str:
    """Return what to do about an interval across its limit: more rows, or a better model where rows would not help."""
    if math.isnan(found.value) or math.isnan(found.low):
        return NO_NUMBER
    if needed is None:
        return f"the value and its limit are {SAME}: improve the model"
    return f"the interval lies on both sides of the limit: about {needed:,} test rows would settle it"


def no_worse(name: str, found: Estimate, evidence: Evidence, rule: Margin, advice: str) -> Check:
    """Judge a difference for non-inferiority: its whole interval must be on the good side of the margin."""
    higher = evidence.is_better_higher(rule.metric)
    limit = Limit(-rule.margin if higher else rule.margin, is_least=higher, signed=True)
    return judged(name, found, limit, rows=evidence.rows.height, advice=advice)


def show(found: Estimate, *, signed: bool = False) -> str:
    """Return a value with its interval."""
    form = "+.4f" if signed else ".4f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
