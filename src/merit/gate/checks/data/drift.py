"""Drift: how far rows are from the champion's, column by column, in sizes of effect; measured by Evidently."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from merit.config.schema.gate import Drift

Method = Literal["jensenshannon", "wasserstein"]

RARE = 0.01
"""The share below which categories are one: many rare ones differ in any two samples, the more the smaller these are.
A category that is new is told by another check."""
OTHERS = "(rare)"


@dataclass(frozen=True)
class Score:
    """How far a column is from the champion's.

    Attributes:
        score: the distance; None where it can't be measured, because one side has no value or none that is finite.
    """

    column: str
    method: Method
    score: float | None
    limit: float

    @property
    def drifted(self) -> bool:
        """Whether it is too far; what can't be measured is."""
        return self.score is None or not self.score <= self.limit

    @property
    def share(self) -> float:
        """The distance as a share of its limit, at most 1."""
        return 1.0 if self.score is None else min(1.0, self.score / self.limit)

    def as_json(self) -> dict[str, Any]:
        """Return it as the report has it."""
        return {
            "column": self.column,
            "method": self.method,
            "score": self.score,
            "limit": self.limit,
            "drifted": self.drifted,
        }


def scores(now: pl.DataFrame, before: pl.DataFrame, limits: Drift) -> list[Score]:
    """Return the distance of each column that both have in the same type, the farthest from its limit first.

    Args:
        now: strings are categories, floats are numbers, as `seen` gives them; null is unknown.
        before: the champion's.
        limits: the greatest distances.
    """
    names = [name for name, kind in now.schema.items() if before.schema.get(name) == kind]
    pairs = {name: _pair(now[name], before[name]) for name in names}
    distances = pairs | _measure({name: pair for name, pair in pairs.items() if isinstance(pair, tuple)})
    found = [_score(name, now.schema[name], distances[name], limits) for name in names]
    return sorted(found, key=lambda each: (each.share, each.score is None, each.score or 0), reverse=True)


Pair = tuple[pl.Series, pl.Series]


def _score(name: str, kind: pl.DataType, distance: Any, limits: Drift) -> Score:
    known = None if distance is None or not np.isfinite(distance) else float(distance)
    method = _method(kind)
    return Score(name, method, known, limits.category if method == "jensenshannon" else limits.number)


def _method(kind: pl.DataType) -> Method:
    return "jensenshannon" if kind == pl.String else "wasserstein"


def _pair(now: pl.Series, before: pl.Series) -> Pair | float | None:
    """Return both sides as they are measured, or the distance itself where nothing has to be measured."""
    if now.dtype == pl.String:
        return _joined_rare(now, before) if len(now) and len(before) else None
    known = [side.drop_nulls() for side in (now, before)]
    if all(side.is_empty() for side in known):
        return 0.0
    return None if any(side.is_empty() for side in known) else _standardised(now, before)


def _joined_rare(now: pl.Series, before: pl.Series) -> Pair:
    """Join the categories that are rare on both sides into one."""
    frequent = pl.concat(
        side.value_counts(normalize=True).filter(pl.col("proportion") >= RARE)[now.name] for side in (now, before)
    )
    joined = pl.when(pl.col(now.name).is_in(frequent.implode())).then(now.name).otherwise(pl.lit(OTHERS))
    ours, theirs = (side.to_frame().select(joined.alias(now.name)).to_series() for side in (now, before))
    return ours, theirs


def _standardised(now: pl.Series, before: pl.Series) -> Pair | float | None:
    """Bring both sides into the champion's standard deviations, for Evidently takes none below a thousandth.

    The distance from a single value is the mean distance from it, in the deviation of the other side.
    """
    ours, theirs = (side.drop_nulls().to_numpy() for side in (now, before))
    with np.errstate(over="ignore", invalid="ignore"):
        middle, unit = theirs.mean(), theirs.std()
        if unit == 0:
            differs = np.abs(ours - middle).mean()
            return float(differs / (ours.std() or differs)) if differs else 0.0
        if not np.isfinite([unit, *(np.abs(side - middle).max() / unit for side in (ours, theirs))]).all():
            return None
    return (now - middle) / unit, (before - middle) / unit


@contextmanager
def _for_evidently() -> Iterator[None]:
    """Hold back the warnings of Evidently's own use of what others are about to drop.

    And the collector of garbage: the import makes a hundred thousand lasting objects and takes a fifth longer with it.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if collects:
            gc.enable()


def _measure(pairs: dict[str, Pair]) -> dict[str, float]:
    """Return Evidently's distances, by the functions that its reports use: those would draw each column besides."""
    if not pairs:
        return {}
    with _for_evidently():
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

        found = {}
        for name, pair in pairs.items():
            now, before = (side.to_pandas().dropna() for side in pair)
            kind = ColumnType.Categorical if pair[0].dtype == pl.String else ColumnType.Numerical
            measure = get_stattest(before, now, kind, _method(pair[0].dtype))
            found[name] = float(measure(before, now, kind, None).drift_score)
    return found
