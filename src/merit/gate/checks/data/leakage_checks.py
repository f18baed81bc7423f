"""Leakage checks that compare parts and features: copies and near-copies, features together, and new features."""

from collections.abc import Mapping

import polars as pl

from merit.config.schema.gate import DataGate, LeakageLimits
from merit.gate.checks.data import leakage, probe
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.findings import build_check, format_worst
from merit.gate.checks.data.leakage import PART_PAIRS, SharedRows
from merit.gate.verdict import Check

MEASURE_NAMES = {"binary": "ROC AUC", "multiclass": "accuracy gained", "regression": "R2"}
MIN_CHANGED_SHARE = 0.02
"""The share of rows in which a feature changed from which on it counts as another: fewer can't gain much."""
PART_ROWS = {"train": "training", "validation": "validation", "test": "test"}


def check_shared_rows(examples: pl.Series, part_index: pl.Series, limit: float) -> Check:
    """Check that no part's rows occur in an earlier part more often than by chance."""
    counted = leakage.count_shared_rows(examples, part_index, PART_PAIRS)
    return _build_shared_check("leakage, shared rows", "a twin", counted, limit)


def check_near_copies(dataset: Dataset, limit: float) -> Check:
    """Check that no part's rows are near-copies of an earlier part's more often than by chance."""
    hashes, part_index = leakage.hash_near_copies(dataset), dataset.part_index
    counted = [
        shared for each in hashes.get_columns() for shared in leakage.count_shared_rows(each, part_index, PART_PAIRS)
    ]
    return _build_shared_check("leakage, near-copies", "a near-copy", counted, limit)


def _build_shared_check(name: str, copy: str, counted: list[SharedRows], limit: float) -> Check:
    """Return the check of the pair of parts that is furthest beyond its limit."""
    advice = "the rows must be new to the model: drop them from the earlier part, or split by data.time"
    if counted[0].rows == 0:
        return build_check(name, None, "no test rows", f"at most {limit:.2%}", advice)
    worst = max(counted, key=lambda each: (each.count - each.compute_limit(limit)) / max(1, each.rows))
    where = "to learn from" if worst.known == "train" else f"among the {PART_ROWS[worst.known]} rows"
    text = f"{worst.count:,} of {worst.rows:,} {worst.part} rows have {copy} {where}"
    text += f" ({worst.count / max(1, worst.rows):.2%})"
    allowed = f"at most {worst.compute_limit(limit):,} ({limit:.2%} and {worst.expected:,.0f} by chance)"
    return build_check(name, worst.count <= worst.compute_limit(limit), text, allowed, advice)


def check_features_together(rows: pl.DataFrame, dataset: Dataset, limit: float) -> Check:
    """Check that neither all features together nor any two predict the target suspiciously well."""
    measure, data = MEASURE_NAMES[dataset.data.target.task], dataset.data
    score = probe.score_together(rows, data)
    allowed = f"{measure} at most {limit:g}"
    if score is None:
        advice = "too few training rows, or too few answers among them: bring more"
        return build_check("leakage, together", None, "can't be told", allowed, advice)
    scores = {"all features": score} | dict(list(probe.score_pairs(rows, data).items())[:3])
    over_limit = [name for name, each in scores.items() if not each <= limit]
    text = format_worst([f"{name} {scores[name]:.3f}" for name in over_limit or ["all features"]])
    advice = "are they known when the prediction is made? If not, leave them out; if so, raise gate.data.leakage."
    return build_check("leakage, together", not over_limit, text, allowed, f"{advice}together")


def check_known_times(dataset: Dataset) -> list[Check]:
    """Check that columns vouched for by a time are known by data.time; no check without such a column."""
    times = {name: column.known.by for name, column in dataset.data.columns.items() if column.known is not None}
    vouched = {name: by for name, by in times.items() if by is not None and name in dataset.schema}
    if not vouched:
        return []
    late = {name: _count_late_rows(dataset, name, by) for name, by in vouched.items()}
    lines = [f"{name} in {count:,} of {dataset.height:,} rows" for name, count in late.items() if count]
    text = f"not known by {dataset.data.time}: {format_worst(lines)}" if lines else f"{len(vouched)} columns, in time"
    advice = "leave the column out, or clear its value where it came later; known.by must be its time in every row"
    return [build_check("leakage, known", not lines, text, f"known.by at most {dataset.data.time}", advice)]


def _count_late_rows(dataset: Dataset, name: str, by: str) -> int:
    """Return the rows with a value that came after the time of the prediction, or at an unknown time."""
    value, known, time = dataset.collect(name).to_series(), *dataset.collect(by, dataset.data.time or "").get_columns()
    return int((value.is_not_null() & ~(known <= time).fill_null(value=False)).sum())


def check_new_features(
    candidate: Dataset, champion: Dataset, changed_columns: Mapping[str, int], limits: DataGate
) -> Check:
    """Check that new and changed features predict the target no better than can be true, or are vouched for."""
    names = _list_new_features(candidate, champion, changed_columns)
    allowed = f"at most {limits.leakage.gain:.0%} of what the champion's features leave to gain, or known"
    if not names:
        return build_check("leakage, new features", True, "no feature is new or changed", allowed, "")
    rows, former = (each.sample_rows("train", limits.rows, limits.seed) for each in (candidate, champion))
    former_score = probe.score_together(former, champion.data)
    score = probe.score_together(rows, candidate.data)
    if score is None or former_score is None:
        advice = "too few training rows, or too few answers among them: bring more"
        return build_check("leakage, new features", None, "can't be told", allowed, advice)
    vouched = [name for name in names if candidate.data.columns[name].known is not None]
    text = f"{_name_measure(candidate)} of a probe {former_score:.3f} before, {score:.3f} with {format_worst(names)}"
    passed = not _is_too_good(score, former_score, rows, candidate, limits.leakage)
    if not passed and vouched:
        rest = probe.score_together(rows, candidate.data, without=vouched) or 0.0
        passed = not _is_too_good(rest, former_score, rows, candidate, limits.leakage)
        text += f"; {rest:.3f} without {format_worst(vouched)}, vouched for"
    advice = (
        "is it known when the prediction is made? If so, say by which time or why in data.columns.NAME.known; if not, "
        "leave it out"
    )
    return build_check("leakage, new features", True if passed else None, text, allowed, advice)


def _is_too_good(score: float, former: float, rows: pl.DataFrame, candidate: Dataset, limits: LeakageLimits) -> bool:
    """Return whether a gain is beyond the limit, and beyond what chance gives on so few rows."""
    noise = 2 / max(1, probe.count_scored_rows(rows, candidate.data)) ** 0.5
    return bool((score - former) / max(1e-9, 1 - max(former, 0)) > limits.gain + noise)


def _list_new_features(candidate: Dataset, champion: Dataset, changed: Mapping[str, int]) -> list[str]:
    """Return the features that the champion lacks, and those that changed in more than a few rows."""
    least = MIN_CHANGED_SHARE * candidate.height
    former = set(champion.feature_columns)
    return [name for name in candidate.feature_columns if name not in former or changed.get(name, 0) > least]


def _name_measure(dataset: Dataset) -> str:
    return MEASURE_NAMES[dataset.data.target.task]
