"""Drift between two samples, column by column, as effect sizes that Evidently defines.

Categories are compared by Jensen-Shannon distance, numbers by Wasserstein distance in standard deviations. Evidently's
public API gives the same scores, but also draws a plot of each column; docs/decisions/0026 has the figures.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from merit.config.schema.gate import DriftLimits

Method = Literal["jensenshannon", "wasserstein"]

RARE_SHARE = 0.01
"""Categories below this share on both sides are merged: rare ones differ between any two samples, and more so between
small ones. New categories have a check of their own (`categories`)."""
RARE_CATEGORY = "(rare)"


@dataclass(frozen=True)
class DriftScore:
    """The drift of one column from the champion's.

    Attributes:
        score: the distance; None if it can't be measured because one side has no finite value.
    """

    column: str
    method: Method
    score: float | None
    limit: float

    @property
    def is_drifted(self) -> bool:
        """Whether the distance exceeds its limit; a distance that can't be measured counts as drift."""
        return self.score is None or not self.score <= self.limit

    @property
    def share_of_limit(self) -> float:
        """The distance as a share of its limit, at most 1."""
        return 1.0 if self.score is None else min(1.0, self.score / self.limit)

    def as_json(self) -> dict[str, Any]:
        """Return the score as the JSON report holds it."""
        return {
            "column": self.column,
            "method": self.method,
            "score": self.score,
            "limit": self.limit,
            "drifted": self.is_drifted,
        }


def score_columns(candidate: pl.DataFrame, champion: pl.DataFrame, limits: DriftLimits) -> list[DriftScore]:
    """Return the distance of each column that both tables have with the same type, most drifted first.

    Args:
        candidate: the candidate's rows as `seen` returns them: strings are categories, floats are numbers,
            null is unknown.
        champion: the champion's rows, in the same format.
        limits: the largest distances allowed.
    """
    names = [name for name, dtype in candidate.schema.items() if champion.schema.get(name) == dtype]
    pairs = {name: _prepare_pair(candidate[name], champion[name]) for name in names}
    distances = {name: _measure_distance(*pair) if isinstance(pair, tuple) else pair for name, pair in pairs.items()}
    results = [_build_score(name, candidate.schema[name], distances[name], limits) for name in names]
    return sorted(results, key=lambda each: (each.share_of_limit, each.score is None, each.score or 0), reverse=True)


ColumnPair = tuple[pl.Series, pl.Series]


def _build_score(name: str, dtype: pl.DataType, distance: float | None, limits: DriftLimits) -> DriftScore:
    finite_distance = None if distance is None or not np.isfinite(distance) else float(distance)
    method = _choose_method(dtype)
    return DriftScore(name, method, finite_distance, limits.category if method == "jensenshannon" else limits.number)


def _choose_method(dtype: pl.DataType) -> Method:
    return "jensenshannon" if dtype == pl.String else "wasserstein"


def _prepare_pair(candidate: pl.Series, champion: pl.Series) -> ColumnPair | float | None:
    """Return both columns prepared for measuring, or the distance itself where it follows without measuring."""
    if candidate.dtype == pl.String:
        return _merge_rare_categories(candidate, champion) if len(candidate) and len(champion) else None
    non_null = [side.drop_nulls() for side in (candidate, champion)]
    if all(side.is_empty() for side in non_null):
        return 0.0
    return None if any(side.is_empty() for side in non_null) else _standardise_pair(candidate, champion)


def _merge_rare_categories(candidate: pl.Series, champion: pl.Series) -> ColumnPair:
    """Merge the categories that are rare on both sides into one."""
    frequent = pl.concat(
        side.value_counts(normalize=True).filter(pl.col("proportion") >= RARE_SHARE)[candidate.name]
        for side in (candidate, champion)
    )
    merged = (
        pl.when(pl.col(candidate.name).is_in(frequent.implode())).then(candidate.name).otherwise(pl.lit(RARE_CATEGORY))
    )
    candidate_merged, champion_merged = (
        side.to_frame().select(merged.alias(candidate.name)).to_series() for side in (candidate, champion)
    )
    return candidate_merged, champion_merged


def _standardise_pair(candidate: pl.Series, champion: pl.Series) -> ColumnPair | float | None:
    """Scale both columns to the champion's mean and standard deviation.

    Evidently takes a deviation below 0.001 for 0.001, which would hide drift of a number in a small unit. If the
    champion's values are constant, return the mean absolute difference from that constant, in standard deviations of
    the candidate's values.
    """
    candidate_values, champion_values = (side.drop_nulls().to_numpy() for side in (candidate, champion))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, unit = champion_values.mean(), champion_values.std()
        if unit == 0:
            mean_difference = np.abs(candidate_values - mean).mean()
            return float(mean_difference / (candidate_values.std() or mean_difference)) if mean_difference else 0.0
        if not np.isfinite(
            [unit, *(np.abs(side - mean).max() / unit for side in (candidate_values, champion_values))]
        ).all():
            return None
    return (candidate - mean) / unit, (champion - mean) / unit


def _measure_distance(candidate: pl.Series, champion: pl.Series) -> float:
    sides = [side.drop_nulls() for side in (champion, candidate)]
    return _measure_jensen_shannon(*sides) if candidate.dtype == pl.String else _measure_wasserstein(*sides)


def _measure_jensen_shannon(champion: pl.Series, candidate: pl.Series) -> float:
    """Return the Jensen-Shannon distance between the shares of the categories, by the natural logarithm.

    The categories are sorted, so that the sums, and with them the report, are the same to the last bit in every run.
    """
    from scipy.special import rel_entr  # scipy.spatial and scipy.stats take a second to import

    counts = [dict(side.value_counts().iter_rows()) for side in (champion, candidate)]
    categories = sorted(set(counts[0]) | set(counts[1]))
    shares = np.array(
        [
            [count.get(each, 0) / len(side) for each in categories]
            for count, side in zip(counts, (champion, candidate), strict=True)
        ]
    )
    return float(np.sqrt(rel_entr(shares, shares.mean(axis=0)).sum() / 2))


def _measure_wasserstein(champion: pl.Series, candidate: pl.Series) -> float:
    """Return the Wasserstein distance of standardised values, in standard deviations of the champion's.

    It is the area between the two distribution functions, as SciPy computes it.
    """
    sides = [np.sort(side.to_numpy()) for side in (champion, candidate)]
    points = np.sort(np.concatenate(sides), kind="stable")
    shares = [side.searchsorted(points[:-1], side="right") / len(side) for side in sides]
    return float((np.abs(shares[0] - shares[1]) * np.diff(points)).sum())
