"""The scale of a parameter or metric in a plot: linear, logarithmic or categorical."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

MAX_DISTINCT_TICKS = 5
"""Maximum number of distinct numeric values that each get a tick of their own."""
LOG_SCALE_RATIO = 50
"""Ratio of the greatest to the least value from which a scale is logarithmic, even if the space doesn't say log."""
MAX_LABELS = 12
"""Maximum number of labels on a categorical scale."""


@dataclass(frozen=True)
class Axis:
    """The scale of one parameter or metric.

    Example:
        >>> axis = from_values("optimizer.lr", ["0.001", "0.1", "0.01"], "tag(log, interval(1e-3, 1e-1))")
        >>> axis.log, round(axis.locate_value("0.01"), 2)
        (True, 0.5)
    """

    key: str
    labels: tuple[str, ...] = ()
    """The values of a categorical scale, sorted; empty for numbers."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    tick_values: tuple[float, ...] = ()
    """The distinct numeric values, if there are at most `MAX_DISTINCT_TICKS`: each gets a tick."""

    def locate_value(self, value: str | float | None) -> float | None:
        """Return a value's position on the scale, from 0 to 1; None for a missing value."""
        if value is None:
            return None
        if self.labels:
            return self.labels.index(str(value)) / (len(self.labels) - 1) if len(self.labels) > 1 else 0.5
        low, high, scaled = (math.log(n) if self.log else n for n in (self.low, self.high, float(value)))
        return (scaled - low) / (high - low) if high > low else 0.5

    def list_ticks(self) -> list[tuple[float, str]]:
        """Return the positions of the ticks, from 0 to 1, and their labels."""
        if self.labels:
            step = math.ceil(len(self.labels) / MAX_LABELS)
            return [(self.locate_value(label) or 0.0, label) for label in self.labels[::step]]
        tick_values = self.tick_values or (
            _list_log_ticks(self.low, self.high) if self.log else list_round_numbers(self.low, self.high, 8)
        )
        return [(self.locate_value(mark) or 0.0, f"{mark:.4g}") for mark in tick_values]


def from_values(key: str, values: Iterable[str | None], spec: str = "") -> Axis:
    """Return the scale of a parameter.

    Args:
        key: the parameter or metric.
        values: its values over the trials; None where a trial doesn't set it.
        spec: its definition in the search space, such as `tag(log, interval(1e-3, 1e-1))`.
    """
    present = [value for value in values if value is not None]
    numbers = [number for value in present if (number := _parse_number(value)) is not None]
    if len(numbers) < len(present) or not numbers:
        return Axis(key, labels=tuple(sorted(set(present))))
    low, high = min(numbers), max(numbers)
    log = low > 0 and ("log" in spec or high / low >= LOG_SCALE_RATIO)
    distinct = tuple(sorted(set(numbers)))
    return Axis(key, low=low, high=high, log=log, tick_values=distinct if len(distinct) <= MAX_DISTINCT_TICKS else ())


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def list_round_numbers(low: float, high: float, count: int = 5) -> list[float]:
    """Return about that many round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw_step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw_step))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw_step)
    return [multiple * step for multiple in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _list_log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high` for a log scale: 1, 10, 100, and 2 and 5 between if they are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(exponents) > 4 else (1, 2, 5) if len(exponents) > 2 else (1, 2, 3, 5, 7)
    return [tick for power in exponents for factor in factors if low <= (tick := factor * 10.0**power) <= high]
