"""Drift of the data from the champion's: of the training rows, and of the validation and test rows of the same time."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema.gate import DataGate
from merit.data.split import PARTS
from merit.gate.checks.data import drift
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.drift import DriftScore
from merit.gate.checks.data.findings import build_check, format_worst
from merit.gate.checks.data.matching import identify_target, list_common_columns
from merit.gate.checks.data.model_view import build_model_view, build_target_view
from merit.gate.verdict import Check

ALLOWED_TEXT = "comparable with the champion's"
OTHER_TARGET_ADVICE = "the champion predicts something else: if this is intended, add a waiver"
HELD_OUT_PARTS = PARTS[1:]
MIN_ROWS = 100
"""Rows on either side below which a held-out part isn't compared: fewer differ by chance."""


class DriftComparison:
    """The drift of every part.

    Attributes:
        train: the scores of the training rows; empty if either side has none.
        held_out: the scores of the validation and the test rows; None where too few are of the same time.
    """

    def __init__(self, candidate: Dataset, champion: Dataset, limits: DataGate) -> None:
        self._candidate, self._champion, self._limits = candidate, champion, limits
        self._has_same_target = identify_target(candidate.data) == identify_target(champion.data)
        self.train = self._score_rows(candidate.find_part("train"), champion.find_part("train"))
        self.held_out = {part: self._score_held_out(part) for part in HELD_OUT_PARTS}

    @property
    def report(self) -> list[DriftScore]:
        """The scores for the report: all of the training rows, and those beyond their limit in other parts."""
        drifted = [
            DriftScore(f"{each.column} ({part})", each.method, each.score, each.limit)
            for part, scores in self.held_out.items()
            for each in scores or []
            if each.is_drifted
        ]
        return self.train + drifted

    def build_checks(self) -> list[Check]:
        """Return the checks of the features, of all features together, of the target, and of the held-out parts."""
        name = _name_target(self._candidate)
        features = [each for each in self.train if each.column != name]
        target = next((each for each in self.train if each.column == name), None)
        return [
            *_check_features(features, self._candidate, self._champion, self._limits),
            _check_target(target, self._champion, has_same_target=self._has_same_target),
            *(_check_part(part, scores, self._limits) for part, scores in self.held_out.items()),
        ]

    def _score_held_out(self, part: str) -> list[DriftScore] | None:
        """Compare a part with the champion's rows of the same time, whatever their part.

        Where the windows move on, other months would differ as months do. Without a time, parts are compared.
        """
        now, before = self._candidate.find_part(part), self._champion.find_part(part)
        if self._candidate.data.time is not None and self._champion.data.time is not None:
            times = self._candidate.read_times(), self._champion.read_times()
            now &= _find_between(times[0], times[1])
            before = _find_between(times[1], times[0].filter(pl.Series(now))) if now.any() else before & False
        if now.sum() < MIN_ROWS or before.sum() < MIN_ROWS:
            return None
        return self._score_rows(now, before)

    def _score_rows(self, now: NDArray[np.bool_], before: NDArray[np.bool_]) -> list[DriftScore]:
        if not now.any() or not before.any():
            return []
        views = self._sample_view(self._candidate, now), self._sample_view(self._champion, before)
        return drift.score_columns(*views, self._limits.drift)

    def _sample_view(self, dataset: Dataset, rows: NDArray[np.bool_]) -> pl.DataFrame:
        """Return a random sample of rows as the model sees them, with the target if both have the same."""
        sample = dataset.sample_rows(rows, self._limits.rows, self._limits.seed)
        view = build_model_view(sample, dataset.data)
        target = [build_target_view(sample, dataset.data).alias(_name_target(dataset))] if self._has_same_target else []
        return pl.DataFrame([*view.get_columns(), *target])


def _find_between(times: pl.Series, others: pl.Series) -> NDArray[np.bool_]:
    return times.is_between(others.min(), others.max()).fill_null(False).to_numpy()


def _name_target(dataset: Dataset) -> str:
    """Return the target's column name in the drift tables; the suffix keeps it apart from features."""
    return f"{dataset.data.target.name} (target)"


def build_other_target_check(name: str, champion: Dataset) -> Check:
    """Return the inconclusive check for a champion that predicts another target."""
    target = champion.data.target
    text = f"the champion's target is another: {target.name} ({target.task})"
    return build_check(name, None, text, ALLOWED_TEXT, OTHER_TARGET_ADVICE)


def _check_features(scores: list[DriftScore], candidate: Dataset, champion: Dataset, limits: DataGate) -> list[Check]:
    """Return two checks: each feature against its own limit, and the mean share of the limits over all features."""
    if not scores:
        text = "no training rows, or no feature that is one of the champion's"
        advice = "make sure that both have training rows; if other columns are intended, add a waiver"
        return [build_check(name, None, text, ALLOWED_TEXT, advice) for name in ("drift", "drift, overall")]
    text = _summarize_scores(scores)
    common = set(champion.feature_columns) & set(list_common_columns(candidate, champion))
    if new_features := [name for name in candidate.feature_columns if name not in common]:
        text += f"; not compared, for the champion has no such feature: {format_worst(new_features)}"
    mean = sum(each.share_of_limit for each in scores) / len(scores)
    overall = f"at most {limits.drift.overall:.0%} of the limits on average"
    return [
        build_check("drift", not _list_drifted(scores), text, _describe_limits(limits), ADVICE),
        build_check("drift, overall", mean <= limits.drift.overall, f"{mean:.0%}", overall, ADVICE),
    ]


ADVICE = "see whether a unit, a column or the source changed; if the world did, raise gate.data.drift"


def _describe_limits(limits: DataGate) -> str:
    return f"Jensen-Shannon {limits.drift.category:g}, Wasserstein {limits.drift.number:g} deviations"


def _list_drifted(scores: list[DriftScore]) -> list[DriftScore]:
    return [each for each in scores if each.is_drifted]


def _summarize_scores(scores: list[DriftScore]) -> str:
    drifted = _list_drifted(scores)
    worst = format_worst([_format_score(each) for each in drifted or scores[:1]])
    return f"{len(drifted)} of {len(scores)} features: {worst}"


def _check_part(part: str, scores: list[DriftScore] | None, limits: DataGate) -> Check:
    """Check the drift of a held-out part, its target included."""
    allowed = _describe_limits(limits)
    if scores is None:
        text = f"fewer than {MIN_ROWS} {part} rows are of a time that the champion's data has"
        return build_check(f"drift, {part}", True, text, allowed, "")
    return build_check(f"drift, {part}", not _list_drifted(scores), _summarize_scores(scores), allowed, ADVICE)


def _check_target(score: DriftScore | None, champion: Dataset, *, has_same_target: bool) -> Check:
    """Check the drift of the target; without training rows, or with another target, the check is inconclusive."""
    if not has_same_target:
        return build_other_target_check("drift, target", champion)
    if score is None:
        return build_check("drift, target", None, "no training rows", ALLOWED_TEXT, "see that both have training rows")
    advice = "see whether labels are made otherwise now; if the world changed, raise gate.data.drift"
    return build_check(
        "drift, target", not score.is_drifted, _format_score(score), f"{score.method} {score.limit:g}", advice
    )


def _format_score(score: DriftScore) -> str:
    return f"{score.column} {'has nothing to compare' if score.score is None else f'{score.score:.2f}'}"
