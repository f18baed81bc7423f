"""Leakage: training rows that reappear in the test part, entities or times in both, features that give the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema.data import Data, Target
from merit.data.entities import entity_of
from merit.data.split import PARTS
from merit.gate.checks.data.model_view import seen
from merit.gate.checks.data.table import Table

BINS = 64
"""Bins of a number, each with about as many rows: enough to see a threshold anywhere."""
ROWS_PER_BIN = 20
LUCK = 3.0
"""Standard deviations by which a count may exceed its expectation before it counts as leakage."""


@dataclass(frozen=True)
class Shared:
    """Counts of test rows whose features and target occur in the training rows.

    Attributes:
        found: test rows that occur in the training rows.
        rows: all test rows.
        expected: test rows that would occur there by chance, estimated from duplicates within the training rows.
    """

    found: int
    rows: int
    expected: float

    def allowed(self, share: float) -> int:
        """Return the largest count allowed: a share of the test rows, the expected count and three deviations of it."""
        return int(share * self.rows + self.expected + LUCK * self.expected**0.5)


def shared(examples: pl.Series, place: pl.Series) -> Shared:
    """Count the test rows that occur in the training rows.

    Rows with few categories coincide without any leakage. The duplicates within the training rows say how often: as a
    rule, a training row has a duplicate among the others as often as a test row does.

    Args:
        examples: a hash of each row's features and target.
        place: the index of each row's part in `PARTS`.
    """
    train, test = (examples.filter(place == PARTS.index(part)) for part in ("train", "test"))
    twins = train.is_duplicated().mean()
    found = int(test.is_in(train.unique().implode()).sum())
    return Shared(found, len(test), float(twins or 0.0) * len(test))  # type: ignore[arg-type]  # a share


def repeated_entities(table: Table) -> list[str]:
    """Return the columns that are no features and whose name and values look like repeating entity ids."""
    time = [table.data.time, table.data.target.name]
    kept = [name for name, column in table.data.columns.items() if column.feature == "none" and name not in time]
    return [name for name in kept if name in table.schema and entity_of(table.collect(name).to_series()) is not None]


def entities(table: Table, columns: Sequence[str]) -> tuple[int, int]:
    """Return how many test rows belong to an entity that is in the training rows too, and how many test rows there are.

    Rows with a null in `columns` belong to no entity and are left out of both counts.
    """
    found = table.collect(*columns).with_columns(place=table.place).drop_nulls(columns)
    train, test = (found.filter(pl.col("place") == PARTS.index(part)).drop("place") for part in ("train", "test"))
    return test.join(train.unique(), on=columns, how="semi").height, test.height


def overlap(table: Table, time: str) -> float:
    """Return the share of validation and test rows that are not later than all training rows."""
    times = table.collect(time).to_series()
    train, others = times.filter(table.place == 0), times.filter(table.place > 0)
    last = train.max()
    return float((others <= last).mean() or 0.0) if last is not None else 0.0  # type: ignore[arg-type]


def alone(rows: pl.DataFrame, data: Data) -> dict[str, float]:
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
    if half == 0 or len(np.unique(target[:half])) < 2 or len(np.unique(target[half:])) < 2:
        return {}
    columns = seen(rows, data).get_columns()
    found = {column.name: _score(_codes(column, half), target, half, data.target) for column in columns}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _codes(column: pl.Series, half: int) -> NDArray[np.int64]:
    """Return the bin or category of each row as a code; missing numbers share a bin of their own."""
    if column.dtype == pl.String:
        return column.rank("dense").to_numpy().astype(np.int64)
    known = column[:half].drop_nulls().to_numpy()
    bins = max(2, min(BINS, half // ROWS_PER_BIN))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.array([])
    values = column.fill_null(float("nan")).to_numpy()
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))


def _score(codes: NDArray[np.int64], target: NDArray[np.float64], half: int, how: Target) -> float:
    """Return the score on the second half, predicted from the first, as `alone` defines it."""
    bins, truth = codes.max() + 1, target[half:]
    if how.classes is not None:
        # Class frequencies as tiny pseudo-counts: a bin that the first half lacks is predicted as its commonest class.
        usual = np.bincount(target[:half].astype(np.int64), minlength=len(how.classes)) / (half + 1)
        counts = np.tile(usual / (half + 1), (bins, 1))
        np.add.at(counts, (codes[:half], target[:half].astype(np.int64)), 1)
        common = np.bincount(truth.astype(np.int64)).max() / len(truth)
        right = float((counts.argmax(axis=1)[codes[half:]] == truth).mean())
        return float((right - common) / (1 - common))
    mean = target[:half].mean()
    sums, sizes = np.bincount(codes[:half], target[:half], bins), np.bincount(codes[:half], minlength=bins)
    guess = ((sums + mean) / (sizes + 1))[codes[half:]]  # shrunk towards the mean by one pseudo-row
    if how.task == "regression":
        return float(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    return _roc_auc(truth, guess)


def _roc_auc(truth: NDArray[np.float64], guess: NDArray[np.float64]) -> float:
    """Return the ROC AUC: the share of correctly ordered pairs, ties counting half (Mann and Whitney 1947)."""
    ranks = pl.Series(guess).rank("average").to_numpy()
    positive = int(truth.sum())
    return float((ranks[truth == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))
