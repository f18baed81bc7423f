"""Verdicts: pass, fail, inconclusive; only a pass passes."""

import math
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


MOST_TIMES = 10
"""Times the rows at hand that may still be worth collecting: a value that needs more is at its limit in practice."""


def rows_needed(found: Estimate, limit: float, rows: int) -> int | None:
    """Return how many rows would bring an interval to one side of its limit, if the value stays where it is.

    An interval narrows with the root of the rows. None if it is on one side already, if the value lies on the limit,
    or so near to it that more than MOST_TIMES the rows would be needed.
    """
    distance = abs(found.value - limit)
    half = found.value - found.low if found.value > limit else found.high - found.value
    if not 0 < distance < half:  # so that NaN has none either
        return None
    times = (half / distance) ** 2
    return _rounded_up(rows * times) if times <= MOST_TIMES else None


def _rounded_up(number: float) -> int:
    """Return a number with two digits that count."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(round(number / unit, 6)) * unit
