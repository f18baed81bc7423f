"""Leakage: training rows that reappear in the test part, entities or times in both, features that give the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from merit.config.schema.data import Data, Target
from merit.data.entities import detect_entity
from merit.data.split import PARTS
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.model_view import build_model_view

BINS = 64
"""Bins of a number, each with about as many rows: enough to see a threshold anywhere."""
ROWS_PER_BIN = 20
MAX_CHANCE_DEVIATIONS = 3.0
"""Standard deviations by which a count may exceed its expectation before it counts as leakage."""


@dataclass(frozen=True)
class SharedRows:
    """Counts of test rows whose features and target occur in the training rows.

    Attributes:
        count: test rows that occur in the training rows.
        rows: all test rows.
        expected: test rows that would occur there by chance, estimated from duplicates within the training rows.
        known: the part that is known, the training part unless other parts are compared.
        part: the part whose rows are counted.
    """

    count: int
    rows: int
    expected: float
    known: str = "train"
    part: str = "test"

    def compute_limit(self, share: float) -> int:
        """Return the largest count allowed: a share of the test rows, the expected count and three deviations of it."""
        return int(share * self.rows + self.expected + MAX_CHANCE_DEVIATIONS * self.expected**0.5)


def count_shared_rows(
    examples: pl.Series, part_index: pl.Series, pairs: Sequence[tuple[str, str]] = (("train", "test"),)
) -> list[SharedRows]:
    """Count the rows of one part that occur in another, for pairs of a known part and one whose rows are counted.

    Rows with few categories coincide without any leakage. The duplicates within the known part say how often: as a
    rule, a row of it has a duplicate among the others as often as a row of another part does.

    Args:
        examples: a hash of each row's features and target.
        part_index: the index of each row's part in `PARTS`.
        pairs: the pairs of parts.
    """
    rows = {part: examples.filter(part_index == index) for index, part in enumerate(PARTS)}
    shared = []
    for known in dict.fromkeys(known for known, _ in pairs):
        counts = rows[known].rename("example").value_counts()
        duplicate_share = 1 - counts.filter(pl.col("count") == 1).height / max(1, len(rows[known]))
        for part in (part for each, part in pairs if each == known):
            found = rows[part].rename("example").to_frame().join(counts, on="example", how="semi").height
            shared.append(SharedRows(found, len(rows[part]), duplicate_share * len(rows[part]), known, part))
    return shared


PART_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
"""A part that is known, and one whose rows must be new."""
ROUNDING = 0.05
"""The step, in standard deviations, to which numbers are rounded to find near-copies."""
SUBSETS = 3
"""Groups of features, each of which is left out of one hash: a near-copy differs in few columns, or by little."""


def hash_near_copies(dataset: Dataset) -> pl.DataFrame:
    """Return hashes of each row's rounded features and target, each without one group of features, uint64 [rows].

    Columns that change with every row, such as the minute of the day, are spread over the groups by their position.
    """
    names, columns = dataset.feature_columns, dataset.data.columns
    numbers = [name for name in names if columns[name].feature == "number" and dataset.schema[name].is_numeric()]
    deviations = dataset.collect(*(selectors.by_name(name).as_expr().cast(pl.Float64).std() for name in numbers))
    units = dict(zip(numbers, deviations.row(0) if numbers else (), strict=True))
    values = {name: _round_values(name, units.get(name)) for name in names}
    target = selectors.by_name(dataset.data.target.name).as_expr().alias("target")
    groups = [names[start::SUBSETS] for start in range(min(SUBSETS, len(names)))]
    hashes = [pl.struct(values[name] for name in group).hash().alias(str(at)) for at, group in enumerate(groups)]
    by_group = dataset.collect(*hashes, target)
    return by_group.select(
        pl.struct("target", *(name for name in map(str, range(len(groups))) if name != left_out)).hash().alias(left_out)
        for left_out in map(str, range(len(groups)))
    )


def _round_values(name: str, unit: float | None) -> pl.Expr:
    values = selectors.by_name(name).as_expr()
    return (values / (unit * ROUNDING)).round() if unit and np.isfinite(unit) else values


def find_repeated_entities(dataset: Dataset) -> list[str]:
    """Return the columns that are no features and whose name and values look like repeating entity ids."""
    excluded = [dataset.data.time, dataset.data.target.name]
    candidates = [
        name for name, column in dataset.data.columns.items() if column.feature == "none" and name not in excluded
    ]
    return [
        name
        for name in candidates
        if name in dataset.schema and detect_entity(dataset.collect(name).to_series()) is not None
    ]


def count_shared_entities(dataset: Dataset, columns: Sequence[str]) -> tuple[int, int]:
    """Return how many test rows belong to an entity that is in the training rows too, and how many test rows there are.

    Rows with a null in `columns` belong to no entity and are left out of both counts.
    """
    rows = dataset.collect(*columns).with_columns(place=dataset.part_index).drop_nulls(columns)
    train, test = (rows.filter(pl.col("place") == PARTS.index(part)).drop("place") for part in ("train", "test"))
    return test.join(train.unique(), on=columns, how="semi").height, test.height


def measure_time_overlap(dataset: Dataset, time: str) -> float:
    """Return the share of validation and test rows that are not later than all training rows."""
    times = dataset.collect(time).to_series()
    train, held_out = times.filter(dataset.part_index == 0), times.filter(dataset.part_index > 0)
    last = train.max()
    return float((held_out <= last).mean() or 0.0) if last is not None else 0.0  # type: ignore[arg-type]


def score_single_features(rows: pl.DataFrame, data: Data) -> dict[str, float]:
    """Return how well each feature alone predicts the target on held-out rows, best first.

    Numbers are binned; the mean target of each bin or category in the first half of the rows predicts the second half.
    The score is the ROC AUC for a binary target, R2 for a regression, and for several classes the accuracy gained over
    the most common class, as a share of the possible gain. If either half has fewer than two distinct targets, nothing
    can be scored and the result is empty.

    Args:
        rows: training rows in random order.
        data: the settings of conf/data.
    """
    target = rows[data.target.name].cast(pl.Float64).to_numpy()
    half = len(target) // 2
    if not has_two_answers(target[:half]) or not has_two_answers(target[half:]):
        return {}
    columns = build_model_view(rows, data).get_columns()
    scores = {column.name: score_codes(encode_bins(column, half), target, half, data.target) for column in columns}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def encode_bins(column: pl.Series, half: int, max_bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin or category of each row as a code; missing numbers share a bin of their own.

    The edges of the bins are those of the first `half` rows.
    """
    if column.dtype == pl.String:
        return column.rank("dense").to_numpy().astype(np.int64)
    known_values = column[:half].drop_nulls().to_numpy()
    bins = max(2, min(max_bins, half // ROWS_PER_BIN))
    edges = (
        np.unique(np.quantile(known_values, np.linspace(0, 1, bins + 1)[1:-1])) if len(known_values) else np.array([])
    )
    values = column.fill_null(float("nan")).to_numpy()
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))


def score_codes(codes: NDArray[np.int64], target: NDArray[np.float64], half: int, config: Target) -> float:
    """Return the score on the second half, predicted from the first, as `score_single_features` defines it."""
    bin_count, truth = codes.max() + 1, target[half:]
    if config.classes is not None:
        # Class frequencies as tiny pseudo-counts: a bin that the first half lacks is predicted as its commonest class.
        class_frequencies = np.bincount(target[:half].astype(np.int64), minlength=len(config.classes)) / (half + 1)
        counts = np.tile(class_frequencies / (half + 1), (bin_count, 1))
        np.add.at(counts, (codes[:half], target[:half].astype(np.int64)), 1)
        return measure_score(truth, counts.argmax(axis=1)[codes[half:]], config)
    mean = target[:half].mean()
    sums, sizes = np.bincount(codes[:half], target[:half], bin_count), np.bincount(codes[:half], minlength=bin_count)
    predicted = ((sums + mean) / (sizes + 1))[codes[half:]]  # shrunk towards the mean by one pseudo-row
    return measure_score(truth, predicted, config)


def measure_score(truth: NDArray[np.float64], predicted: NDArray[Any], config: Target) -> float:
    """Return ROC AUC, R2, or for several classes the accuracy gained, as `score_single_features` defines them."""
    if config.classes is not None:
        majority_share = np.bincount(truth.astype(np.int64)).max() / len(truth)
        return float(((predicted == truth).mean() - majority_share) / (1 - majority_share))
    if config.task == "regression":
        return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    return _compute_roc_auc(truth, predicted)


def has_two_answers(target: NDArray[np.float64]) -> bool:
    """Return whether there are two distinct targets."""
    return len(np.unique(target)) > 1


def _compute_roc_auc(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Return the ROC AUC: the share of correctly ordered pairs, ties counting half (Mann and Whitney 1947)."""
    values, position = np.unique(predicted, return_inverse=True)
    positives = np.bincount(position, truth, len(values))
    negatives = np.bincount(position, minlength=len(values)) - positives
    ordered = positives * (negatives.cumsum() - negatives / 2)
    return float(ordered.sum() / (positives.sum() * negatives.sum()))
