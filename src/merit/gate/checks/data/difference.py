"""Differences between two versions of the data: rows, columns, missing values, categories, the target."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars import selectors

from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.matching import RowMatches, list_common_columns

MIN_MISSING_CHANGE = 0.001
"""Smaller differences in the share of missing values are not reported."""
COLUMNS_PER_QUERY = 50
"""Columns counted in one query; each query opens the file again."""
MAX_NEW_CATEGORIES = 10
"""New categories that the report lists per column."""


def count_row_changes(candidate: Dataset, champion: Dataset, matches: RowMatches) -> dict[str, int | None]:
    """Return how many rows were added, removed, changed and relabelled; `changed` is None for rows without a key."""
    return {
        "now": candidate.height,
        "before": champion.height,
        "added": candidate.height - len(matches.candidate_rows),
        "gone": champion.height - len(matches.champion_rows),
        "changed": int(matches.changed.sum()) if matches.is_keyed else None,
        "relabelled": int(matches.relabelled.sum()),
    }


def compare_columns(candidate: Dataset, champion: Dataset) -> dict[str, list[Any]]:
    """Return the columns that were added, were removed, or changed their type."""
    retyped = [
        {"column": name, "before": str(champion.schema[name]), "after": str(dtype)}
        for name, dtype in candidate.schema.items()
        if champion.schema.get(name, dtype) != dtype
    ]
    return {
        "added": [name for name in candidate.schema if name not in champion.schema],
        "gone": [name for name in champion.schema if name not in candidate.schema],
        "retyped": retyped,
    }


def compare_missing(candidate: Dataset, champion: Dataset) -> list[dict[str, Any]]:
    """Return the columns whose share of missing values changed, largest change first; NaN counts as missing."""
    candidate_shares, champion_shares = _compute_missing_shares(candidate), _compute_missing_shares(champion)
    changes = [
        {"column": name, "before": champion_shares[name], "after": candidate_shares[name]}
        for name in list_common_columns(candidate, champion)
        if abs(candidate_shares[name] - champion_shares[name]) >= MIN_MISSING_CHANGE
    ]
    return sorted(changes, key=lambda each: -abs(each["after"] - each["before"]))


def _compute_missing_shares(dataset: Dataset) -> dict[str, float]:
    """Return the share of missing values of each column; NaN counts as missing."""
    expressions = [
        (pl.col(name).is_null() | pl.col(name).is_nan() if dtype.is_float() else pl.col(name).is_null()).mean()
        for name, dtype in dataset.schema.items()
    ]
    shares: dict[str, float] = dataset.collect(*expressions).row(0, named=True)
    return shares


def compare_categories(candidate: Dataset, champion: Dataset) -> list[dict[str, Any]]:
    """Return, for each category column that differs, the new values and the counts of new and removed ones."""
    common_columns = set(list_common_columns(candidate, champion))
    names = [
        name
        for name, column in candidate.data.columns.items()
        if column.feature == "category" and name in common_columns
    ]
    differences = []
    for start in range(0, len(names), COLUMNS_PER_QUERY):
        counts = [_count_values(table, names[start : start + COLUMNS_PER_QUERY]) for table in (candidate, champion)]
        differences += [
            _compare_category(name, *sides)
            for name, *sides in zip(names[start : start + COLUMNS_PER_QUERY], *counts, strict=True)
        ]
    return [each for each in differences if each["new_count"] or each["gone_count"]]


def _count_values(dataset: Dataset, names: Sequence[str]) -> list[pl.DataFrame]:
    """Return the value counts of each column, missing values left out."""
    counts = (selectors.by_name(name).as_expr().drop_nulls().value_counts().implode() for name in names)
    return [each[0].struct.unnest() for each in dataset.collect(*counts).get_columns()]


def _compare_category(name: str, candidate_counts: pl.DataFrame, champion_counts: pl.DataFrame) -> dict[str, Any]:
    """Return the new and the removed values of one category column, with their counts of rows."""
    new_values = candidate_counts.join(champion_counts, on=name, how="anti").sort(
        "count", name, descending=[True, False]
    )
    gone_values = champion_counts.join(candidate_counts, on=name, how="anti")
    return {
        "column": name,
        "new": new_values[name].head(MAX_NEW_CATEGORIES).to_list(),
        "new_count": new_values.height,
        "new_rows": int(new_values["count"].sum()),
        "gone_count": gone_values.height,
        "gone_rows": int(gone_values["count"].sum()),
    }


def summarize_target(dataset: Dataset) -> float | dict[str, float]:
    """Return the share of positives, the share of each class, or the mean, as the target's task has it."""
    config = dataset.data.target
    if config.classes is None:
        return float(dataset.collect(pl.col(config.name).cast(pl.Float64).mean()).item())
    counts = dict(dataset.collect(pl.col(config.name).value_counts()).unnest(config.name).iter_rows())
    return {str(label): counts.get(float(index), 0) / dataset.height for index, label in enumerate(config.classes)}


def compute_target_deviation(dataset: Dataset) -> float:
    """Return the standard deviation of the target, or 1 if it is 0: the unit for changes of the target's mean."""
    return float(dataset.collect(pl.col(dataset.data.target.name).cast(pl.Float64).std(ddof=0)).item() or 1.0)
