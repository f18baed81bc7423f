"""Groups rows into blocks, such as days: rows that depend on one another are resampled together.

The flights of a stormy day are late together. Resampled one by one they pass for independent evidence, and intervals
come out several times too narrow.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.config.schema.base import Section
from merit.config.schema.data import GroupSplit, TimeSplit
from merit.config.schema.evaluate import ColumnBlocks, RowBlocks, TimeBlocks

FEW_BLOCKS = 10
"""With fewer blocks a report says that there are too few: the interval is wide, and its width itself is uncertain."""
UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def find_blocks(lock: Lock) -> Section:
    """Return `evaluate.blocks`, or what follows from the split: days of a split by time, else its groups, else rows."""
    declared, split = lock.evaluate.blocks, lock.data.split
    if declared is not None:
        return declared
    if isinstance(split, TimeSplit):
        return TimeBlocks(by="time")
    if isinstance(split, GroupSplit):
        return ColumnBlocks(by="column", column=split.column)
    return RowBlocks(by="row")


def number_blocks(lock: Lock, rows: pl.DataFrame) -> NDArray[np.intp] | None:
    """Return the number of each row's block, from 0 without gaps, [rows]; None if each row stands for itself.

    A row without a value, such as one of no patient, is a block of its own.

    Args:
        lock: the parsed params.yaml.
        rows: raw rows, with the column that makes the blocks.
    """
    blocks = find_blocks(lock)
    if isinstance(blocks, TimeBlocks):
        assert lock.data.time is not None
        return _number_values(rows[lock.data.time].dt.truncate(blocks.every))
    if isinstance(blocks, ColumnBlocks):
        return _number_values(rows[blocks.column])
    return None


def describe_blocks(lock: Lock) -> str:
    """Return what is resampled, in the plural: `days`, `blocks of 3 days`, `values of patient` or `rows`."""
    blocks = find_blocks(lock)
    if isinstance(blocks, TimeBlocks):
        number, unit = blocks.every[:-1], UNITS[blocks.every[-1]]
        return unit if number == "1" else f"blocks of {number} {unit}"
    return f"values of {blocks.column}" if isinstance(blocks, ColumnBlocks) else "rows"


def _number_values(values: pl.Series) -> NDArray[np.intp]:
    numbers = values.rank("dense").cast(pl.Int64).to_numpy().astype(np.float64)  # a missing value is NaN
    missing = np.isnan(numbers)
    numbers[missing] = np.nanmax(numbers, initial=0) + np.arange(1, missing.sum() + 1)
    indices: NDArray[np.intp] = np.unique(numbers, return_inverse=True)[1]
    return indices
