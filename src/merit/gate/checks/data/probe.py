"""Probe: how well features predict the target together, by a model that is fitted in a tenth of a second.

A third of the rows gives each column's mean target per bin or category. A ridge regression on these means and on the
standardised numbers is fitted on the second third and scored on the last. It sees a target that is the sum of columns;
`score_pairs` sees one that takes two columns at once, such as whether they are equal.
"""

from collections.abc import Collection, Iterable
from itertools import combinations, product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema.data import Data, Target
from merit.gate.checks.data.leakage import encode_bins, has_two_answers, measure_score, score_codes
from merit.gate.checks.data.model_view import build_model_view

RIDGE = 3.0
"""The penalty of the regression, in rows."""
MAX_COLUMNS = 400
"""Columns of the regression: with more, the first ones are taken."""
PAIR_BINS = 12
MAX_PAIR_ROWS = 4000
MAX_PAIRS = 1000
"""Pairs of columns that are scored: of all columns where there are so few, else of the wanted columns and others."""
FloatArray = NDArray[np.float64]


def score_together(rows: pl.DataFrame, data: Data, without: Collection[str] = ()) -> float | None:
    """Return how well all features together predict the target, as `score_single_features` measures it.

    Args:
        rows: training rows in random order.
        data: the settings of conf/data.
        without: features to leave out.

    Returns None if a third of the rows has fewer than two distinct targets, or no feature is left.
    """
    target = rows[data.target.name].cast(pl.Float64).to_numpy()
    third = len(target) // 3
    parts = [slice(0, third), slice(third, 2 * third), slice(2 * third, 3 * third)]
    kept = {name: column for name, column in data.columns.items() if name not in without}
    view = build_model_view(rows, data.model_copy(update={"columns": kept}))
    if not view.width or not all(has_two_answers(target[part]) for part in parts):
        return None
    answers = _spread_answers(target, data.target)
    design = np.hstack([_build_columns(column, answers, third) for column in view.get_columns()])[:, :MAX_COLUMNS]
    design = (design - design[parts[1]].mean(axis=0)) / (design[parts[1]].std(axis=0) + 1e-9)
    weights = _fit_ridge(design[parts[1]], answers[parts[1]])
    predicted = np.nan_to_num(design[parts[2]] @ weights[1:] + weights[0])
    truth = target[parts[2]]
    return measure_score(truth, predicted.argmax(axis=1) if data.target.classes else predicted[:, 0], data.target)


def count_scored_rows(rows: pl.DataFrame, data: Data) -> int:
    """Return the rows that the precision of a score depends on: of a class, those of the rarer answers."""
    target = rows[data.target.name][2 * (rows.height // 3) :]
    if data.target.task == "regression":
        return len(target)
    counts = target.unique_counts().sort(descending=True)
    return int(counts[1:].sum()) if len(counts) > 1 else 0


def score_pairs(rows: pl.DataFrame, data: Data, wanted: Collection[str] = ()) -> dict[str, float]:
    """Return how well each pair of features predicts the target, best first, by the mean target of their joint bins.

    Args:
        rows: training rows in random order.
        data: the settings of conf/data.
        wanted: the features of the pairs where all pairs would be too many.
    """
    rows = rows.head(MAX_PAIR_ROWS)
    target = rows[data.target.name].cast(pl.Float64).to_numpy()
    half = len(target) // 2
    if not has_two_answers(target[:half]) or not has_two_answers(target[half:]):
        return {}
    columns = build_model_view(rows, data).get_columns()
    codes = {column.name: _limit_codes(encode_bins(column, half, PAIR_BINS)) for column in columns}
    scores = {
        f"{first} with {second}": score_codes(
            codes[first] * (codes[second].max() + 1) + codes[second], target, half, data.target
        )
        for first, second in _choose_pairs(list(codes), wanted)
    }
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _choose_pairs(names: list[str], wanted: Collection[str]) -> Iterable[tuple[str, str]]:
    if len(names) * (len(names) - 1) // 2 <= MAX_PAIRS:
        return combinations(names, 2)
    pairs = ((name, other) for name, other in product(wanted, names) if name in names and name != other)
    return [pair for pair, _ in zip(pairs, range(MAX_PAIRS), strict=False)]


def _limit_codes(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes of the most frequent values; all others share one."""
    counts = np.bincount(codes)
    frequent = np.argsort(-counts, kind="stable")[: 2 * PAIR_BINS]
    renumbered = np.full(len(counts), len(frequent))
    renumbered[frequent] = np.arange(len(frequent))
    return renumbered[codes].astype(np.int64)


def _spread_answers(target: FloatArray, config: Target) -> FloatArray:
    """Return the target as columns: one per class, or itself."""
    if config.classes is None:
        return target[:, None]
    spread: FloatArray = np.eye(len(config.classes))[target.astype(np.int64)]
    return spread


def _build_columns(column: pl.Series, answers: FloatArray, third: int) -> FloatArray:
    """Return the mean answers of each row's bin in the first third, and a number's own value."""
    codes = encode_bins(column, third)
    mean, sizes = answers[:third].mean(axis=0), np.bincount(codes[:third], minlength=codes.max() + 1)[:, None]
    sums = np.zeros((codes.max() + 1, answers.shape[1]))
    np.add.at(sums, codes[:third], answers[:third])
    encoded: FloatArray = ((sums + mean) / (sizes + 1))[codes]
    if column.dtype == pl.String:
        return encoded
    mean_value: Any = column.mean()  # None if every value is missing
    values = column.fill_null(mean_value or 0.0).to_numpy().astype(np.float64)
    return np.hstack([encoded, values[:, None]])


def _fit_ridge(design: FloatArray, answers: FloatArray) -> FloatArray:
    """Return the weights of a ridge regression, the constant first."""
    mean = answers.mean(axis=0)
    gram = design.T @ design + RIDGE * np.eye(design.shape[1])
    weights: FloatArray = np.vstack([mean, np.linalg.solve(gram, design.T @ (answers - mean))])
    return weights
