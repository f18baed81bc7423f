"""The split: by time, so that the model is judged on days after all it has learned from, or by lot."""

import numpy as np
import polars as pl

from merit.config.schema.data import Data, RandomSplit, TimeSplit
from merit.errors import MeritError

PARTS = ("train", "validation", "test")


def split(table: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    """Return the parts `train`, `validation` and `test` of a table, as conf/data says.

    Raises:
        MeritError: a part has no row.
    """
    place = places(table, data)
    parts = {name: table.filter(place == number) for number, name in enumerate(PARTS)}
    if data.time is not None and isinstance(data.split, TimeSplit):
        first, last = table[data.time].min(), table[data.time].max()
        hint = f"the data runs from {first!s} to {last!s}: move data.split or data.window"
    else:
        hint = f"the data has {table.height} rows: raise the shares in data.split, or bring more rows"
    for name, rows in parts.items():
        if rows.is_empty():
            raise MeritError(f"data.split: no rows fall to the {name} part; {hint}")
    return parts


def needed(data: Data) -> list[str]:
    """Return the columns that say which part a row falls to."""
    return [data.time or ""] if isinstance(data.split, TimeSplit) else [data.target.name]


def places(table: pl.DataFrame, data: Data) -> pl.Series:
    """Return for each row the place of its part in `PARTS`, or -1 if it falls to none; int8 [rows].

    Args:
        table: the rows; of their columns those that `needed` names are enough.
        data: conf/data.
    """
    if isinstance(data.split, TimeSplit):
        assert data.time is not None
        return _by_time(table[data.time], data.split)
    groups = table[data.target.name] if data.target.task != "regression" else None
    return _by_lot(table.height, groups, data.split)


def _by_time(times: pl.Series, ends: TimeSplit) -> pl.Series:
    day = times.dt.date()
    place = (day > ends.train_until).cast(pl.Int8) + (day > ends.validation_until).cast(pl.Int8)
    return place.set(day > ends.test_until, -1).fill_null(-1)


def _by_lot(rows: int, groups: pl.Series | None, shares: RandomSplit) -> pl.Series:
    """Draw each class by itself, so that a rare one is in every part; the parts keep the order of the table."""
    generator = np.random.default_rng(shares.seed)
    part = np.zeros(rows, dtype=np.int8)
    classes = np.zeros(rows) if groups is None else groups.to_numpy()
    for value in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == value))
        validation, test = (round(share * len(members)) for share in (shares.validation, shares.test))
        part[members[:test]] = 2
        part[members[test : test + validation]] = 1
    return pl.Series(part)
