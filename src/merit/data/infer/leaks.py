"""Finds columns that leak the target: each alone predicts it nearly perfectly, as only later knowledge can."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

NEARLY = 0.99
"""Minimum AUC, skill over the majority class, or R² of a single column that counts as a leak."""
SAMPLE = 50_000
FEWEST = 30
BINS = 256

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


def giveaways(columns: pl.DataFrame, target: pl.Series, task: str) -> dict[str, float]:
    """Return the columns that predict the target nearly perfectly, with their AUC, skill or R².

    Each column is fitted on one half of a sample of rows and scored on the other.
    """
    rows = np.random.default_rng(0).permutation(columns.height)[:SAMPLE]
    if len(rows) < FEWEST:
        return {}
    truth = _codes(target) if task == "multiclass" else target.cast(pl.Float64).to_numpy()
    found = {column.name: _score(column[rows], truth[rows], task) for column in columns}
    return {name: score for name, score in found.items() if score >= NEARLY}


def _codes(column: pl.Series) -> Codes:
    return column.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()


def _score(column: pl.Series, truth: NDArray[np.generic], task: str) -> float:
    groups = _groups(column)
    if task == "regression":
        smooth = _neighbours(column, truth.astype(np.float64)) if _is_measured(column) else 0.0
        return max(smooth, _r2(groups, truth.astype(np.float64)))
    if task == "multiclass":
        return _skill(groups, truth.astype(np.int64))
    ranked = _auc(column.to_physical().cast(pl.Float64), truth) if _is_measured(column) else 0.5
    return max(ranked, 1 - ranked, _grouped_auc(groups, truth.astype(np.float64)))


def _is_measured(column: pl.Series) -> bool:
    return (column.dtype.is_numeric() or column.dtype.is_temporal()) and column.null_count() == 0


def _groups(column: pl.Series) -> Codes:
    """Return a group number per row: one group per value, or per quantile bin of many values, and one for missing."""
    codes = _codes(column)
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        edges = np.unique(np.quantile(codes, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest"))
        # Missing values have code 0 and keep a group of their own.
        return np.where(codes == 0, 0, 1 + np.searchsorted(edges, codes, side="left")).astype(np.int64)
    return codes


def _halves(rows: int) -> tuple[slice, slice]:
    return slice(0, rows // 2), slice(rows // 2, rows)


def _means(groups: Codes, truth: Numbers) -> Numbers:
    """Return for each row of the second half the mean target of the first half's rows in its group."""
    learned, judged = _halves(len(truth))
    size = int(groups.max()) + 1
    sums, counts = np.bincount(groups[learned], truth[learned], size), np.bincount(groups[learned], minlength=size)
    overall = truth[learned].mean()
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)[groups[judged]]


def _auc(score: pl.Series, truth: NDArray[np.generic]) -> float:
    """Return the ROC AUC; ties count half (Mann and Whitney 1947)."""
    ranks = score.rank("average").to_numpy()
    positives = truth.astype(bool)
    up, down = int(positives.sum()), int((~positives).sum())
    if min(up, down) < 3:
        return 0.5
    return float((ranks[positives].sum() - up * (up + 1) / 2) / (up * down))


def _grouped_auc(groups: Codes, truth: Numbers) -> float:
    _, judged = _halves(len(truth))
    return _auc(pl.Series(_means(groups, truth)), truth[judged])


def _skill(groups: Codes, truth: Codes) -> float:
    """Return the share of the majority class's errors that predicting each group's most frequent class avoids."""
    learned, judged = _halves(len(truth))
    table = np.zeros((int(groups.max()) + 1, int(truth.max()) + 1), dtype=np.int64)
    np.add.at(table, (groups[learned], truth[learned]), 1)
    table[table.sum(axis=1) == 0] = table.sum(axis=0)
    errors = float((table.argmax(axis=1)[groups[judged]] != truth[judged]).mean())
    usual = float((table.sum(axis=0).argmax() != truth[judged]).mean())
    return 1 - errors / usual if usual > 0 else 0.0


def _r2(groups: Codes, truth: Numbers) -> float:
    _, judged = _halves(len(truth))
    return _explained(_means(groups, truth), truth[judged])


def _neighbours(column: pl.Series, truth: Numbers) -> float:
    """Return the R² of predicting each row by the mean of its two neighbours in the order of the column."""
    sorted_by = truth[column.arg_sort().to_numpy()]
    return _explained((sorted_by[:-2] + sorted_by[2:]) / 2, sorted_by[1:-1])


def _explained(predicted: Numbers, truth: Numbers) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread > 0 else 0.0
