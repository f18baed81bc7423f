"""Finds the test rows that the champion has seen neither in training nor in validation.

Where windows or splits move, the champion may have been trained on the candidate's test rows. It then knows their
answers, so the two models are compared on the other rows only. The candidate has seen none: they are its test part.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from merit.config.schema import Lock
from merit.config.schema.data import Data, GroupSplit, TimeSplit
from merit.data.split import PARTS
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.data import matching
from merit.gate.checks.data.dataset import Dataset

Mask = NDArray[np.bool_]

SEEN_PARTS = [PARTS.index("train"), PARTS.index("validation")]
UNKNOWN_ADVICE = (
    "'dvc push' its data where it was made, keep the columns that its split and data.contract.unique name, or compare "
    "with the champion of another commit by --against REF"
)


@dataclass(frozen=True)
class UnseenRows:
    """The test rows on which candidate and champion can be compared.

    Attributes:
        mask: whether the champion has not seen the row, [rows].
        period: the first and the last day of these rows; None if rows have no time.
        problem: why they don't allow a comparison; empty if they do.
        advice: what to change about that.
    """

    mask: Mask
    period: tuple[str, str] | None = None
    problem: str = ""
    advice: str = ""

    @cached_property
    def count(self) -> int:
        """The number of unseen rows."""
        return int(self.mask.sum())

    @property
    def is_all(self) -> bool:
        """Whether the champion has seen no test row."""
        return self.count == len(self.mask)

    def describe(self) -> str:
        """Return how many of how many rows these are, and over which period, as a report shows it."""
        period = "" if self.period is None else f" ({' to '.join(self.period)})"
        return f"{self.count:,} of {len(self.mask):,} test rows{period}"

    def as_json(self) -> dict[str, Any]:
        """Return the rows as reports/gate.json holds them."""
        first, last = self.period or (None, None)
        return {"rows": self.count, "from": first, "to": last}


def find_unseen_rows(lock: Lock, champion: Champion, rows: pl.DataFrame) -> UnseenRows:
    """Return the test rows that the champion has not seen.

    Args:
        lock: the parsed params.yaml of the candidate.
        champion: the model of the target branch.
        rows: the raw test rows.
    """
    try:
        data = champion.read_data_section()
        mask = _mark_unseen(lock.data, data, champion, rows)
    except MeritError as error:
        none = np.zeros(rows.height, dtype=np.bool_)
        return UnseenRows(none, None, f"which test rows it has seen is unknown: {error}", UNKNOWN_ADVICE)
    unseen = UnseenRows(mask, _find_period(rows.filter(mask), lock.data.time))
    if unseen.is_all or unseen.count >= lock.gate.test_rows.unseen:
        return unseen
    problem = (
        f"it has seen {rows.height - unseen.count:,} of {rows.height:,} test rows in training or validation, and "
        f"{unseen.count:,} are left to compare on, of at least {lock.gate.test_rows.unseen:,}"
    )
    return UnseenRows(mask, unseen.period, problem, _advise_split(data))


def _mark_unseen(candidate: Data, data: Data, champion: Champion, rows: pl.DataFrame) -> Mask:
    if champion.has_same_data() and _select_split_settings(data) == _select_split_settings(candidate):
        return np.ones(rows.height, dtype=np.bool_)
    if isinstance(data.split, TimeSplit):
        return ~_find_seen_days(data, data.split, rows)
    with champion.fetch_data() as path:
        dataset = Dataset.scan(path, data, "its data")
        is_seen = dataset.part_index.is_in(SEEN_PARTS)
        seen = _find_seen_rows(candidate, dataset, is_seen, rows)
        if isinstance(data.split, GroupSplit):
            seen |= _find_seen_groups(data.split.column, dataset, is_seen, rows)
    return ~seen


def _select_split_settings(data: Data) -> dict[str, Any]:
    """Return the settings that decide which part a row of the same file belongs to."""
    return data.model_dump(include={"split", "time", "target"})


def _find_seen_days(data: Data, split: TimeSplit, rows: pl.DataFrame) -> Mask:
    """Return whether rows are of the days that the champion was trained and chosen on, whatever its filter let through.

    A row without a time counts as seen.
    """
    if data.time not in rows.columns or not rows.schema[data.time].is_temporal():
        raise MeritError(f"it was split by '{data.time}', which is no time of these rows")
    day = rows[data.time].dt.date()
    seen = day <= split.validation_until
    if data.window is not None:
        seen &= day.is_between(data.window.start, data.window.end)
    return seen.fill_null(value=True).to_numpy()


def _find_seen_groups(column: str, dataset: Dataset, is_seen: pl.Series, rows: pl.DataFrame) -> Mask:
    """Return whether rows are of a group that the champion was trained or chosen on, new rows of the group included."""
    if column not in rows.columns:
        raise MeritError(f"it was split by the groups of '{column}', which is no column of these rows")
    groups = dataset.collect(column).to_series().filter(is_seen).drop_nulls().unique()
    return rows[column].cast(groups.dtype, strict=False).is_in(groups.implode()).fill_null(value=False).to_numpy()


def _find_seen_rows(candidate: Data, dataset: Dataset, is_seen: pl.Series, rows: pl.DataFrame) -> Mask:
    """Return whether rows are those of the champion's training or validation part, matched by their keys.

    Without keys that both have, all common columns but the target are compared: a new label makes no new row.
    """
    keys = next((each for each in (dataset.data.contract.unique, candidate.contract.unique) if each), [])
    common = {name for name in rows.columns if name in dataset.schema}
    names = keys if keys and set(keys) <= common else sorted(common - {dataset.data.target.name, candidate.target.name})
    if not names:
        raise MeritError("its data has no column of these rows")
    test_rows = Dataset(rows.lazy(), rows.schema, rows.height, candidate, "test rows")
    values = matching.build_comparable_values(test_rows, dataset)
    # A column of another kind is compared by its text.
    texts = {name: selectors.by_name(name).as_expr().cast(pl.String, strict=False) for name in names}
    row_hash = pl.struct([(texts | values)[name] for name in names]).hash()
    seen_hashes = dataset.collect(row_hash.alias("row")).to_series().filter(is_seen).unique()
    return rows.select(row_hash.alias("row")).to_series().is_in(seen_hashes.implode()).to_numpy()


def _find_period(rows: pl.DataFrame, time: str | None) -> tuple[str, str] | None:
    if time not in rows.columns or rows[time].null_count() == rows.height:
        return None
    days = rows[time].dt.date()
    return str(days.min()), str(days.max())


def _advise_split(data: Data) -> str:
    """Return what to change where the champion has seen too many of the test rows."""
    remedy = "or compare by --against REF with a champion that was trained on other rows"
    if isinstance(data.split, TimeSplit):
        last = data.split.validation_until
        return f"move data.split: the test part needs more days after {last}, the last the champion has seen; {remedy}"
    return (
        "keep data.split and the rows that it splits as the champion had them, or split by time, where new rows are "
        f"unseen; {remedy}"
    )
