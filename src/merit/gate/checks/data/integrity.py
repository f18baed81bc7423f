"""Integrity checks of the data that need no champion: duplicate rows, leakage, labels."""

import polars as pl

from merit.config.schema import Lock
from merit.config.schema.data import GroupSplit, TimeSplit
from merit.gate.checks.data import labels, leakage
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.findings import Findings, build_check, format_worst
from merit.gate.checks.data.leakage_checks import (
    MEASURE_NAMES,
    check_features_together,
    check_known_times,
    check_near_copies,
    check_shared_rows,
)
from merit.gate.checks.protocol import DataFamily
from merit.gate.verdict import Check


def check_integrity(lock: Lock, dataset: Dataset) -> Findings:
    """Run the integrity checks of the data."""
    target, limits = dataset.data.target, lock.gate.data
    hashes = dataset.hash_columns(
        {
            "row": list(dataset.schema),
            "features": dataset.feature_columns,
            "example": [*dataset.feature_columns, target.name],
        },
        target.name,
    )
    # Rows that differ only in columns that conf/data leaves out are no duplicates: ingest counts them in the source.
    duplicates = hashes.height - hashes["row"].n_unique() if dataset.duplicate_rows is None else dataset.duplicate_rows
    rows = dataset.sample_rows("train", limits.rows, limits.seed)
    checks = [
        _check_duplicates(duplicates, hashes.height, limits.duplicates),
        check_shared_rows(hashes["example"], dataset.part_index, limits.leakage.shared),
        check_near_copies(dataset, limits.leakage.shared),
        *_check_entities(dataset, limits.leakage.entity),
        _check_single_features(rows, dataset, limits.leakage.column),
        check_features_together(rows, dataset, limits.leakage.together),
        *check_known_times(dataset),
        *_check_time_overlap(dataset, limits.leakage.overlap),
        _check_label_conflicts(
            labels.measure_conflicts(hashes.select("features", target.name), target), limits.conflicts
        ),
        _check_constant_target(labels.find_constant_parts(hashes[target.name], dataset.part_index)),
    ]
    return Findings(checks, {"duplicates": duplicates})


def _check_duplicates(duplicates: int, rows: int, limit: float) -> Check:
    share = duplicates / max(1, rows)
    advice = "drop them in the source, for whole rows of it are alike; if they may be, raise gate.data.duplicates"
    return build_check(
        "duplicates", share <= limit, f"{duplicates:,} rows ({share:.2%})", f"at most {limit:.2%}", advice
    )


def _check_entities(dataset: Dataset, declared: list[str] | None) -> list[Check]:
    """Check that no entity is in both training and test rows.

    The entity is the declared key; an empty one disables the check. Without a declaration, each candidate key (the
    split's group column and repeating id columns) is checked and the worst reported; under a split by time it passes.
    """
    keys = _find_entity_keys(dataset) if declared is None else [declared] if declared else []
    counts_by_key = {tuple(key): leakage.count_shared_entities(dataset, key) for key in keys}
    if declared is None:
        counts_by_key = {key: counts for key, counts in counts_by_key.items() if counts[1]}
    if not counts_by_key:
        return []
    key = max(counts_by_key, key=lambda each: counts_by_key[each][0] / max(1, counts_by_key[each][1]))
    shared_rows, rows = counts_by_key[key]
    text = f"{shared_rows:,} of {rows:,} test rows are of a {', '.join(key)} that was learned from"
    if shared_rows and declared is None and isinstance(dataset.data.split, TimeSplit):
        text, allowed = f"{text}: later rows of the same", "none, or later rows where rows are split by time"
        return [build_check("leakage, entity", True, text, allowed, "")]
    advice = _advise_entity_split(dataset, key[0], may_be_intended=declared is None)
    return [build_check("leakage, entity", shared_rows == 0 if rows else None, text, "none", advice)]


def _find_entity_keys(dataset: Dataset) -> list[list[str]]:
    """Return the candidate entity keys of data that declares none, each a list of one column."""
    split = dataset.data.split
    group_columns = [split.column] if isinstance(split, GroupSplit) else []
    return [[name] for name in dict.fromkeys([*group_columns, *leakage.find_repeated_entities(dataset)])]


def _advise_entity_split(dataset: Dataset, column: str, *, may_be_intended: bool) -> str:
    """Return the advice to split by group, and to allow shared entities if they may be intended."""
    split = dataset.data.split
    validation, test = (0.2, 0.2) if isinstance(split, TimeSplit) else (split.validation, split.test)
    shares = f"validation: {validation:g}, test: {test:g}"
    advice = f"let each be on one side, in conf/data: split: {{by: group, column: {column}, {shares}}}"
    return f"{advice}; if it may be on both, gate.data.leakage.entity: []" if may_be_intended else advice


def _check_single_features(rows: pl.DataFrame, dataset: Dataset, limit: float) -> Check:
    """Check that no feature alone predicts the target suspiciously well."""
    measure = MEASURE_NAMES[dataset.data.target.task]
    scores = leakage.score_single_features(rows, dataset.data)
    allowed = f"{measure} at most {limit:g}"
    if not scores:
        advice = "too few training rows, or too few answers among them: bring more"
        return build_check("leakage, one column", None, "can't be told", allowed, advice)
    over_limit = [name for name, score in scores.items() if not score <= limit]
    text = format_worst([f"{name} {scores[name]:.3f}" for name in over_limit or list(scores)[:1]])
    advice = "is it known when the prediction is made? If not, leave it out; if it is, raise gate.data.leakage.column"
    return build_check("leakage, one column", not over_limit, text, allowed, advice)


def _check_time_overlap(dataset: Dataset, limit: float) -> list[Check]:
    """Check that validation and test rows are later than all training rows; no check without a time column."""
    if dataset.data.time is None:
        return []
    share = leakage.measure_time_overlap(dataset, dataset.data.time)
    text = f"{share:.2%} of validation and test rows are not later than all training rows"
    advice = "split by time; if the past may be judged by the future, raise gate.data.leakage.overlap"
    return [build_check("leakage, time", share <= limit, text, f"at most {limit:.2%}", advice)]


def _check_label_conflicts(share: float, limit: float) -> Check:
    """Check the share of rows with equal features but conflicting targets."""
    text = f"{share:.2%} of rows have the features of another row and another answer"
    advice = (
        "correct the labels, or add a column that tells such rows apart; if there is none, raise gate.data.conflicts"
    )
    return build_check("label noise", share <= limit, text, f"at most {limit:.2%}", advice)


def _check_constant_target(problems: list[str]) -> Check:
    advice = "correct data.target.sql, or move data.split"
    text = format_worst(problems) or "every part has several answers"
    return build_check("constant target", not problems, text, "two answers or more in each part", advice)


NAME = "integrity"
FAMILY = DataFamily(30, lambda evidence: check_integrity(evidence.lock, evidence.dataset))
