"""Verdicts: pass, fail, inconclusive; only a pass passes."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from merit.metrics import Estimate


class Verdict(StrEnum):
    """What a check, or the gate as a whole, says."""

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Check:
    """One check: what was found, what is allowed, and what to do if it didn't pass.

    Attributes:
        group: what it looks at: data, model or rules.
        waived: whether it counts no more, by a waiver in conf/; its verdict stays what it is.
        rows_needed: test rows that would decide it, if it could not decide and so many might.
    """

    name: str
    verdict: Verdict
    found: str
    allowed: str
    advice: str = ""
    group: str = "model"
    waived: bool = False
    rows_needed: int | None = None


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of all checks: the worst one; no check at all can't pass."""
    verdicts = set(verdicts)
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def at_least(found: Estimate, limit: float) -> Verdict:
    """Judge an interval against a lower limit: wholly above it passes, wholly below it fails."""
    if found.low >= limit:
        return Verdict.PASS
    # NaN compares as false everywhere, and so ends up undecided.
    return Verdict.FAIL if found.high < limit else Verdict.INCONCLUSIVE


def at_most(found: Estimate, limit: float) -> Verdict:
    """Judge an interval against an upper limit."""
    return at_least(Estimate(-found.value, -found.high, -found.low), -limit)
