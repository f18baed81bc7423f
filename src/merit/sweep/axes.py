"""The scale of a parameter or metric in a plot: linear, logarithmic or categorical."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

FEW = 5
"""Maximum number of distinct numeric values that each get a tick of their own."""
POWERS = 50
"""Ratio of the greatest to the least value from which a scale is logarithmic, even if the space doesn't say log."""
MOST_WORDS = 12
"""Maximum number of labels on a categorical scale."""


@dataclass(frozen=True)
class Axis:
    """The scale of one parameter or metric.

    Example:
        >>> axis = of("optimizer.lr", ["0.001", "0.1", "0.01"], "tag(log, interval(1e-3, 1e-1))")
        >>> axis.log, round(axis.place("0.01"), 2)
        (True, 0.5)
    """

    key: str
    words: tuple[str, ...] = ()
    """The values of a categorical scale, sorted; empty for numbers."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    few: tuple[float, ...] = ()
    """The distinct numeric values, if there are at most `FEW`: each gets a tick."""

    def place(self, value: str | float | None) -> float | None:
        """Return a value's position on the scale, from 0 to 1; None for a missing value."""
        if value is None:
            return None
        if self.words:
            return self.words.index(str(value)) / (len(self.words) - 1) if len(self.words) > 1 else 0.5
        low, high, here = (math.log(n) if self.log else n for n in (self.low, self.high, float(value)))
        return (here - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return the positions of the ticks, from 0 to 1, and their labels."""
        if self.words:
            every = math.ceil(len(self.words) / MOST_WORDS)
            return [(self.place(word) or 0.0, word) for word in self.words[::every]]
        marks = self.few or (_powers(self.low, self.high) if self.log else nice(self.low, self.high, 8))
        return [(self.place(mark) or 0.0, f"{mark:.4g}") for mark in marks]


def of(key: str, values: Iterable[str | None], spec: str = "") -> Axis:
    """Return the scale of a parameter.

    Args:
        key: the parameter or metric.
        values: its values over the trials; None where a trial doesn't set it.
        spec: its definition in the search space, such as `tag(log, interval(1e-3, 1e-1))`.
    """
    there = [value for value in values if value is not None]
    numbers = [found for value in there if (found := _number(value)) is not None]
    if len(numbers) < len(there) or not numbers:
        return Axis(key, words=tuple(sorted(set(there))))
    low, high = min(numbers), max(numbers)
    log = low > 0 and ("log" in spec or high / low >= POWERS)
    distinct = tuple(sorted(set(numbers)))
    return Axis(key, low=low, high=high, log=log, few=distinct if len(distinct) <= FEW else ())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def nice(low: float, high: float, about: int = 5) -> list[float]:
    """Return about that many round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [place * step for place in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high` for a log scale: 1, 10, 100, and 2 and 5 between if they are few."""
    ends = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(ends) > 4 else (1, 2, 5) if len(ends) > 2 else (1, 2, 3, 5, 7)
    return [mark for power in ends for factor in factors if low <= (mark := factor * 10.0**power) <= high]
