"""Pydantic models for the section `data` of reports/gate.json: how the data differs from the champion's."""

import math
from typing import Annotated, Literal

from pydantic import Field

from merit.gate.report.sections import (
    MAX_ITEMS,
    BoundedList,
    CommitHash,
    Count,
    ReportSection,
    Share,
    Text,
)


class DataRows(ReportSection):
    """The number of rows, and how many differ from the champion's data."""

    now: Count
    before: Count | None = None
    added: Count | None = None
    gone: Count | None = None
    changed: Count | None = None
    """Rows with the same key and other values; null if the data declares no key."""
    relabelled: Count | None = None
    """Rows in both versions whose target changed."""


class ChangedColumn(ReportSection):
    """A column, and the number of rows in which it changed."""

    column: Text
    rows: Count


class ChangedSlice(ReportSection):
    """A slice in which more rows changed than in the others."""

    slice: Text
    change: Literal["relabelled", "changed", "gone", "added"]
    count: Count
    rows: Count
    """The rows of the slice that could have changed in this way."""


class DataChampion(ReportSection):
    """The champion whose data was compared."""

    commit: CommitHash
    rows: Count | None = None


class TypeChange(ReportSection):
    """A column whose type changed."""

    column: Text
    before: Text
    after: Text


class ColumnChanges(ReportSection):
    """The columns that were added, removed or changed their type."""

    added: BoundedList[Text] = []
    gone: BoundedList[Text] = []
    retyped: BoundedList[TypeChange] = []


class MissingChange(ReportSection):
    """The share of missing values of a column, before and after the change."""

    column: Text
    before: Share
    after: Share


class CategoryChange(ReportSection):
    """The categories of a column that were added and removed."""

    column: Text
    new: Annotated[list[Text | int | float | bool | None], Field(max_length=100)] = []
    """Examples of the new values."""
    new_count: Count
    new_rows: Count
    gone_count: Count


TargetRate = float | Annotated[dict[Text, float], Field(max_length=MAX_ITEMS)] | None


class TargetChange(ReportSection):
    """The distribution of the target before and after: the share of positives or of each class, or the mean."""

    before: TargetRate = None
    after: TargetRate = None


class ColumnDrift(ReportSection):
    """The drift of a column from the champion's data."""

    column: Text
    method: Text
    score: float | None
    """The distance; null if it can't be measured."""
    limit: float
    drifted: bool

    @property
    def share_of_limit(self) -> float:
        """The distance as a share of its limit; infinite if it can't be measured."""
        return self.score / self.limit if self.score is not None and self.limit > 0 else math.inf


class DataChange(ReportSection):
    """The changes of the data since the champion; null where a comparison is not possible."""

    champion: DataChampion | None = None
    rows: DataRows | None = None
    changed_columns: BoundedList[ChangedColumn] | None = None
    """The columns in which rows changed, most rows first."""
    changed_slices: BoundedList[ChangedSlice] | None = None
    """The slices with more changes than their share of the rows, most first, for each kind of change."""
    columns: ColumnChanges | None = None
    missing: BoundedList[MissingChange] | None = None
    """Columns whose share of missing values changed."""
    categories: BoundedList[CategoryChange] | None = None
    """Columns whose categories changed."""
    target: TargetChange | None = None
    drift: BoundedList[ColumnDrift] | None = None
    duplicates: Count | None = None
    """The number of rows that duplicate another row."""
    identical: bool = False
    """Whether the data is byte-identical to the champion's."""
