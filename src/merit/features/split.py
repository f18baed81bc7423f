"""The split by time: the model is judged on days that come after all it has learned from."""

import polars as pl

from merit.config.schema import Split
from merit.errors import MeritError


def split(table: pl.DataFrame, time: str, ends: Split) -> dict[str, pl.DataFrame]:
    """Return the parts `train`, `validation` and `test` of a table, by the column `time`.

    Raises:
        MeritError: a part has no row.
    """
    day = pl.col(time).dt.date()
    parts = {
        "train": table.filter(day <= ends.train_until),
        "validation": table.filter(day > ends.train_until, day <= ends.validation_until),
        "test": table.filter(day > ends.validation_until, day <= ends.test_until),
    }
    for name, rows in parts.items():
        if rows.is_empty():
            raise MeritError(
                f"data.split: no rows fall to the {name} part; the data runs from "
                f"{table[time].min()!s} to {table[time].max()!s}: move data.split or data.window"
            )
    return parts
