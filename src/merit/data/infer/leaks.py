"""Finds columns that leak the target: each alone predicts it nearly perfectly, as only later knowledge can."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

LEAK_THRESHOLD = 0.99
"""Minimum AUC, skill over the majority class, or R² of a single column that counts as a leak."""
MAX_SAMPLE_ROWS = 50_000
MIN_ROWS = 30
MAX_BINS = 256

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


def find_leaks(columns: pl.DataFrame, target: pl.Series, task: str) -> dict[str, float]:
    """Return the columns that predict the target nearly perfectly, with their AUC, skill or R².

    Each column is fitted on one half of a sample of rows and scored on the other.
    """
    rows = np.random.default_rng(0).permutation(columns.height)[:MAX_SAMPLE_ROWS]
    if len(rows) < MIN_ROWS:
        return {}
    target_values = _encode_values(target) if task == "multiclass" else target.cast(pl.Float64).to_numpy()
    scores = {column.name: _score_column(column[rows], target_values[rows], task) for column in columns}
    return {name: score for name, score in scores.items() if score >= LEAK_THRESHOLD}


def _encode_values(column: pl.Series) -> Codes:
    return column.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()


def _score_column(column: pl.Series, truth: NDArray[np.generic], task: str) -> float:
    groups = _group_values(column)
    if task == "regression":
        smooth = _compute_neighbour_r2(column, truth.astype(np.float64)) if _is_ordered(column) else 0.0
        return max(smooth, _compute_group_r2(groups, truth.astype(np.float64)))
    if task == "multiclass":
        return _compute_skill(groups, truth.astype(np.int64))
    ranked = _compute_auc(column.to_physical().cast(pl.Float64), truth) if _is_ordered(column) else 0.5
    return max(ranked, 1 - ranked, _compute_grouped_auc(groups, truth.astype(np.float64)))


def _is_ordered(column: pl.Series) -> bool:
    return (column.dtype.is_numeric() or column.dtype.is_temporal()) and column.null_count() == 0


def _group_values(column: pl.Series) -> Codes:
    """Return a group number per row: one group per value, or per quantile bin of many values, and one for missing."""
    codes = _encode_values(column)
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        edges = np.unique(np.quantile(codes, np.linspace(0, 1, MAX_BINS + 1)[1:-1], method="nearest"))
        # Missing values have code 0 and keep a group of their own.
        return np.where(codes == 0, 0, 1 + np.searchsorted(edges, codes, side="left")).astype(np.int64)
    return codes


def _split_halves(rows: int) -> tuple[slice, slice]:
    return slice(0, rows // 2), slice(rows // 2, rows)


def _predict_means(groups: Codes, truth: Numbers) -> Numbers:
    """Return for each row of the second half the mean target of the first half's rows in its group."""
    fit_rows, scored_rows = _split_halves(len(truth))
    size = int(groups.max()) + 1
    sums, counts = np.bincount(groups[fit_rows], truth[fit_rows], size), np.bincount(groups[fit_rows], minlength=size)
    overall = truth[fit_rows].mean()
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)[groups[scored_rows]]


def _compute_auc(score: pl.Series, truth: NDArray[np.generic]) -> float:
    """Return the ROC AUC; ties count half (Mann and Whitney 1947)."""
    ranks = score.rank("average").to_numpy()
    positives = truth.astype(bool)
    positive_count, negative_count = int(positives.sum()), int((~positives).sum())
    if min(positive_count, negative_count) < 3:
        return 0.5
    return float(
        (ranks[positives].sum() - positive_count * (positive_count + 1) / 2) / (positive_count * negative_count)
    )


def _compute_grouped_auc(groups: Codes, truth: Numbers) -> float:
    _, scored_rows = _split_halves(len(truth))
    return _compute_auc(pl.Series(_predict_means(groups, truth)), truth[scored_rows])


def _compute_skill(groups: Codes, truth: Codes) -> float:
    """Return the share of the majority class's errors that predicting each group's most frequent class avoids."""
    fit_rows, scored_rows = _split_halves(len(truth))
    table = np.zeros((int(groups.max()) + 1, int(truth.max()) + 1), dtype=np.int64)
    np.add.at(table, (groups[fit_rows], truth[fit_rows]), 1)
    table[table.sum(axis=1) == 0] = table.sum(axis=0)
    errors = float((table.argmax(axis=1)[groups[scored_rows]] != truth[scored_rows]).mean())
    majority_errors = float((table.sum(axis=0).argmax() != truth[scored_rows]).mean())
    return 1 - errors / majority_errors if majority_errors > 0 else 0.0


def _compute_group_r2(groups: Codes, truth: Numbers) -> float:
    _, scored_rows = _split_halves(len(truth))
    return _compute_r2(_predict_means(groups, truth), truth[scored_rows])


def _compute_neighbour_r2(column: pl.Series, truth: Numbers) -> float:
    """Return the R² of predicting each row by the mean of its two neighbours in the order of the column."""
    sorted_truth = truth[column.arg_sort().to_numpy()]
    return _compute_r2((sorted_truth[:-2] + sorted_truth[2:]) / 2, sorted_truth[1:-1])


def _compute_r2(predicted: Numbers, truth: Numbers) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread > 0 else 0.0
