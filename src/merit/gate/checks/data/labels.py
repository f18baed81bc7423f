"""Label quality: constant targets, and rows with equal features but different targets."""

import polars as pl

from merit.config.schema.data import Target
from merit.data.split import PARTS


def find_constant_parts(target: pl.Series, part_index: pl.Series) -> list[str]:
    """Return a message for each part that has no rows, or only one distinct target value."""
    problems = []
    for index, part in enumerate(PARTS):
        values = target.filter(part_index == index).unique()
        if len(values) == 0:
            problems.append(f"{part} has no rows")
        elif len(values) == 1:
            problems.append(f"every row of {part} has {target.name} = {values[0]:g}")
    return problems


def measure_conflicts(rows: pl.DataFrame, target: Target) -> float:
    """Return the share of rows in groups of equal features whose targets conflict.

    The targets of a regression conflict if they differ by more than one standard deviation.

    Args:
        rows: the column `features`, a hash of each row's features, and the target's column.
        target: the target's configuration in conf/data.
    """
    if rows.is_empty():
        return 0.0
    value = pl.col(target.name).cast(pl.Float64)
    tolerance = float(rows.select(value.std(ddof=0)).item()) if target.task == "regression" else 0.0
    groups = rows.group_by("features").agg(pl.len(), (value.max() - value.min()).alias("apart"))
    return float(groups.filter(pl.col("apart") > tolerance)["len"].sum() / rows.height)
