"""Drift between two samples, column by column, as effect sizes computed by Evidently.

Categories are compared by Jensen-Shannon distance, numbers by Wasserstein distance in standard deviations.
"""

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
"""Categories below this share on both sides are merged: rare ones differ between any two samples, and more so between
small ones. New categories have a check of their own (`categories`)."""
OTHERS = "(rare)"


@dataclass(frozen=True)
class Score:
    """The drift of one column from the champion's.

    Attributes:
        score: the distance; None if it can't be measured because one side has no finite value.
    """

    column: str
    method: Method
    score: float | None
    limit: float

    @property
    def drifted(self) -> bool:
        """Whether the distance exceeds its limit; a distance that can't be measured counts as drift."""
        return self.score is None or not self.score <= self.limit

    @property
    def share(self) -> float:
        """The distance as a share of its limit, at most 1."""
        return 1.0 if self.score is None else min(1.0, self.score / self.limit)

    def as_json(self) -> dict[str, Any]:
        """Return the score as the JSON report holds it."""
        return {
            "column": self.column,
            "method": self.method,
            "score": self.score,
            "limit": self.limit,
            "drifted": self.drifted,
        }


def scores(now: pl.DataFrame, before: pl.DataFrame, limits: Drift) -> list[Score]:
    """Return the distance of each column that both tables have with the same type, most drifted first.

    Args:
        now: the candidate's rows as `seen` returns them: strings are categories, floats are numbers,
            null is unknown.
        before: the champion's rows, in the same format.
        limits: the largest distances allowed.
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
    """Return both columns prepared for measuring, or the distance itself where it follows without measuring."""
    if now.dtype == pl.String:
        return _joined_rare(now, before) if len(now) and len(before) else None
    known = [side.drop_nulls() for side in (now, before)]
    if all(side.is_empty() for side in known):
        return 0.0
    return None if any(side.is_empty() for side in known) else _standardised(now, before)


def _joined_rare(now: pl.Series, before: pl.Series) -> Pair:
    """Merge the categories that are rare on both sides into one."""
    frequent = pl.concat(
        side.value_counts(normalize=True).filter(pl.col("proportion") >= RARE)[now.name] for side in (now, before)
    )
    joined = pl.when(pl.col(now.name).is_in(frequent.implode())).then(now.name).otherwise(pl.lit(OTHERS))
    ours, theirs = (side.to_frame().select(joined.alias(now.name)).to_series() for side in (now, before))
    return ours, theirs


def _standardised(now: pl.Series, before: pl.Series) -> Pair | float | None:
    """Scale both columns to the champion's mean and standard deviation.

    Evidently clips deviations below 0.001, so small units would hide drift. If the champion's values are constant,
    return the mean absolute difference from that constant, in standard deviations of the candidate's values.
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
    """Silence the deprecation warnings of Evidently's dependencies, and pause garbage collection.

    The import creates a hundred thousand long-lived objects and takes a fifth longer with the collector on.
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
    """Return Evidently's distances.

    Calls the functions behind Evidently's reports directly: a report would also draw a plot of each column.
    """
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
