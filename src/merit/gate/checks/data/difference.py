"""Differences between two versions of the data: rows, columns, missing values, categories, the target."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars import selectors

from merit.gate.checks.data.table import Table

MOVED = 0.001
"""Smaller differences in the share of missing values are not reported."""
TOGETHER = 50
"""Columns counted in one query; each query opens the file again."""
SHOWN = 10
"""New categories that the report lists per column."""


def common(now: Table, before: Table) -> list[str]:
    """Return the columns, the target included, that both versions have with the same type."""
    return [name for name, kind in now.schema.items() if before.schema.get(name) == kind]


def rows(now: Table, before: Table) -> dict[str, int | None]:
    """Return how many rows were added, removed and changed.

    If both versions have the key columns (`data.contract.unique`), rows are matched by key and compared in their
    common columns. Otherwise a changed row counts as one removed and one added, and `changed` is None.
    """
    shared, keys = common(now, before), now.data.contract.unique
    found: dict[str, int | None] = {"now": now.height, "before": before.height}
    if keys and set(keys) <= set(shared):
        return found | _by_key(now, before, keys, shared)
    counts = [table.hashed({"row": shared})["row"].value_counts() for table in (now, before)]
    both = counts[0].join(counts[1], on="row", suffix="_before")
    kept = int(both.select(pl.min_horizontal("count", "count_before").sum()).item())
    return found | {"added": now.height - kept, "gone": before.height - kept, "changed": None}


def _by_key(now: Table, before: Table, keys: Sequence[str], shared: Sequence[str]) -> dict[str, int | None]:
    ours, theirs = (t.hashed({"key": keys, "row": shared}).unique("key") for t in (now, before))
    both = ours.join(theirs, on="key", suffix="_before")
    changed = int((both["row"] != both["row_before"]).sum())
    return {"added": ours.height - both.height, "gone": theirs.height - both.height, "changed": changed}


def columns(now: Table, before: Table) -> dict[str, list[Any]]:
    """Return the columns that were added, were removed, or changed their type."""
    retyped = [
        {"column": name, "before": str(before.schema[name]), "after": str(kind)}
        for name, kind in now.schema.items()
        if before.schema.get(name, kind) != kind
    ]
    return {
        "added": [name for name in now.schema if name not in before.schema],
        "gone": [name for name in before.schema if name not in now.schema],
        "retyped": retyped,
    }


def missing(now: Table, before: Table) -> list[dict[str, Any]]:
    """Return the columns whose share of missing values changed, largest change first; NaN counts as missing."""
    ours, theirs = _missing_shares(now), _missing_shares(before)
    found = [
        {"column": name, "before": theirs[name], "after": ours[name]}
        for name in common(now, before)
        if abs(ours[name] - theirs[name]) >= MOVED
    ]
    return sorted(found, key=lambda each: -abs(each["after"] - each["before"]))


def _missing_shares(table: Table) -> dict[str, float]:
    """Return the share of missing values of each column; NaN counts as missing."""
    lacking = [
        (pl.col(name).is_null() | pl.col(name).is_nan() if kind.is_float() else pl.col(name).is_null()).mean()
        for name, kind in table.schema.items()
    ]
    made: dict[str, float] = table.collect(*lacking).row(0, named=True)
    return made


def categories(now: Table, before: Table) -> list[dict[str, Any]]:
    """Return, for each category column that differs, the new values and the counts of new and removed ones."""
    there = set(common(now, before))
    names = [name for name, column in now.data.columns.items() if column.feature == "category" and name in there]
    found = []
    for start in range(0, len(names), TOGETHER):
        counts = [_counted(table, names[start : start + TOGETHER]) for table in (now, before)]
        found += [
            _category(name, *sides) for name, *sides in zip(names[start : start + TOGETHER], *counts, strict=True)
        ]
    return [each for each in found if each["new_count"] or each["gone_count"]]


def _counted(table: Table, names: Sequence[str]) -> list[pl.DataFrame]:
    """Return the value counts of each column, missing values left out."""
    counts = (selectors.by_name(name).as_expr().drop_nulls().value_counts().implode() for name in names)
    return [each[0].struct.unnest() for each in table.collect(*counts).get_columns()]


def _category(name: str, ours: pl.DataFrame, theirs: pl.DataFrame) -> dict[str, Any]:
    """Return the new and the removed values of one category column, with their counts of rows."""
    new = ours.join(theirs, on=name, how="anti").sort("count", name, descending=[True, False])
    gone = theirs.join(ours, on=name, how="anti")
    return {
        "column": name,
        "new": new[name].head(SHOWN).to_list(),
        "new_count": new.height,
        "new_rows": int(new["count"].sum()),
        "gone_count": gone.height,
        "gone_rows": int(gone["count"].sum()),
    }


def target(table: Table) -> float | dict[str, float]:
    """Return the share of positives, the share of each class, or the mean, as the target's task has it."""
    how = table.data.target
    if how.classes is None:
        return float(table.collect(pl.col(how.name).cast(pl.Float64).mean()).item())
    counts = dict(table.collect(pl.col(how.name).value_counts()).unnest(how.name).iter_rows())
    return {str(label): counts.get(float(place), 0) / table.height for place, label in enumerate(how.classes)}


def deviation(table: Table) -> float:
    """Return the standard deviation of the target, or 1 if it is 0: the unit for changes of the target's mean."""
    return float(table.collect(pl.col(table.data.target.name).cast(pl.Float64).std(ddof=0)).item() or 1.0)
