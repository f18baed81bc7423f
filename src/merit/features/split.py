"""The split: by time, so that the model is judged on days after all it has learned from, or by lot."""

import numpy as np
import polars as pl

from merit.config.schema import Data, RandomSplit, TimeSplit
from merit.errors import MeritError

PARTS = ("train", "validation", "test")


def split(table: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    """Return the parts `train`, `validation` and `test` of a table, as conf/data says.

    Raises:
        MeritError: a part has no row.
    """
    if isinstance(data.split, TimeSplit):
        assert data.time is not None
        parts = _by_time(table, data.time, data.split)
        first, last = table[data.time].min(), table[data.time].max()
        hint = f"the data runs from {first!s} to {last!s}: move data.split or data.window"
    else:
        groups = table[data.target.name] if data.target.task != "regression" else None
        parts = _by_lot(table, groups, data.split)
        hint = f"the data has {table.height} rows: raise the shares in data.split, or bring more rows"
    for name, rows in parts.items():
        if rows.is_empty():
            raise MeritError(f"data.split: no rows fall to the {name} part; {hint}")
    return parts


def _by_time(table: pl.DataFrame, time: str, ends: TimeSplit) -> dict[str, pl.DataFrame]:
    day = pl.col(time).dt.date()
    return {
        "train": table.filter(day <= ends.train_until),
        "validation": table.filter(day > ends.train_until, day <= ends.validation_until),
        "test": table.filter(day > ends.validation_until, day <= ends.test_until),
    }


def _by_lot(table: pl.DataFrame, groups: pl.Series | None, shares: RandomSplit) -> dict[str, pl.DataFrame]:
    """Draw each class by itself, so that a rare one is in every part; the parts keep the order of the table."""
    generator = np.random.default_rng(shares.seed)
    part = np.zeros(table.height, dtype=np.int8)
    classes = np.zeros(table.height) if groups is None else groups.to_numpy()
    for value in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == value))
        validation, test = (round(share * len(members)) for share in (shares.validation, shares.test))
        part[members[:test]] = 2
        part[members[test : test + validation]] = 1
    return {name: table.filter(part == place) for place, name in enumerate(PARTS)}
