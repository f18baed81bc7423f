"""Defines verdicts and check results, and compares intervals with limits."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from merit.metrics import Estimate


class Verdict(StrEnum):
    """The verdict of a check or of the whole gate; only a pass lets a model merge.

    A check that had nothing to compare is not applicable: it stands in no way and counts as no pass.
    """

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"

    @property
    def is_blocking(self) -> bool:
        """Whether a check with this verdict keeps the model from merging."""
        return self in {Verdict.FAIL, Verdict.INCONCLUSIVE}


@dataclass(frozen=True)
class Check:
    """The result of one check: what was found, what is allowed, and what to do if it did not pass.

    Attributes:
        name: the check's name in reports and waivers.
        group: the subject of the check: data, model or rules.
        waived: whether a waiver in conf/ excuses the check; its verdict stays.
        rows_needed: the number of test rows that would decide an inconclusive check; None if more rows don't help.

    Example:
        >>> Check("size", Verdict.PASS, "1.2 MB", "at most 50 MB").waived
        False
    """

    name: str
    verdict: Verdict
    found: str
    allowed: str
    advice: str = ""
    group: str = "model"
    waived: bool = False
    rows_needed: int | None = None


def combine_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of the whole gate: the worst verdict; without a single pass it is inconclusive."""
    counted = set(verdicts) - {Verdict.NOT_APPLICABLE}
    if Verdict.FAIL in counted:
        return Verdict.FAIL
    return Verdict.PASS if counted == {Verdict.PASS} else Verdict.INCONCLUSIVE


def check_at_least(estimate: Estimate, limit: float) -> Verdict:
    """Compare an interval with a lower limit: an interval wholly above passes, one wholly below fails."""
    if estimate.low >= limit:
        return Verdict.PASS
    # Every comparison with NaN is false, so NaN ends up inconclusive.
    return Verdict.FAIL if estimate.high < limit else Verdict.INCONCLUSIVE


def check_at_most(estimate: Estimate, limit: float) -> Verdict:
    """Compare an interval with an upper limit."""
    return check_at_least(Estimate(-estimate.value, -estimate.high, -estimate.low), -limit)


def check_no_worse_than(loss: Estimate, margin: float) -> Verdict:
    """Judge by how much one model is worse than another, with equal errors on either side of the margin.

    A loss whose upper bound is within the margin passes. Where the bound is no further from the value than the margin
    is from 0, the value decides: a model that is no worse is then refused as rarely as one that is worse by twice the
    margin passes. Otherwise a value beyond the margin fails if the model is surely worse, and anything else is
    inconclusive.

    Args:
        loss: by how much it is worse; each of its bounds holds with the gate's confidence.
        margin: by how much it may be worse.
    """
    if loss.high <= margin:
        return Verdict.PASS
    if loss.value > margin and loss.low > 0:
        return Verdict.FAIL
    is_precise = loss.high - loss.value <= margin
    return Verdict.PASS if is_precise and loss.value <= margin else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class SampleSize:
    """The size of a sample: its rows, and the blocks that they form.

    Attributes:
        rows: the number of rows.
        units: the number of blocks that are resampled; the rows themselves where they are independent.
        name: what a unit is, in the plural, such as `days`.
    """

    rows: int
    units: int
    name: str

    def describe_rows(self, rows: int) -> str:
        """Return a number of rows as text, with the blocks that so many rows would form."""
        if self.name == "rows":
            return f"about {rows:,} test rows"
        return f"about {math.ceil(rows * self.units / self.rows):,} {self.name} of test rows ({self.units:,} now)"


MAX_ROWS_FACTOR = 10
"""Largest multiple of the present rows worth collecting; a value that needs more practically equals its limit."""


def estimate_rows_needed(estimate: Estimate, limit: float, rows: int) -> int | None:
    """Return the number of rows at which the interval would no longer contain the limit, if the value stays the same.

    The width of an interval shrinks with the square root of the number of rows. Returns None if the interval does not
    contain the limit, if the value equals the limit, or if collecting so many rows is not worthwhile.
    """
    distance = abs(estimate.value - limit)
    half_width = estimate.value - estimate.low if estimate.value > limit else estimate.high - estimate.value
    if not 0 < distance < half_width:  # written so that NaN gives None too
        return None
    factor = (half_width / distance) ** 2
    return round_up(rows * factor) if factor <= MAX_ROWS_FACTOR else None


def round_up(number: float) -> int:
    """Round up to two significant digits."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(round(number / unit, 6)) * unit
