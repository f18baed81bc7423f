"""Label quality: constant targets, and rows with equal features but different targets."""

import polars as pl

from merit.config.schema.data import Target
from merit.data.split import PARTS


def faults(target: pl.Series, place: pl.Series) -> list[str]:
    """Return a message for each part that has no rows, or only one distinct target value."""
    found = []
    for number, part in enumerate(PARTS):
        answers = target.filter(place == number).unique()
        if len(answers) == 0:
            found.append(f"{part} has no rows")
        elif len(answers) == 1:
            found.append(f"every row of {part} has {target.name} = {answers[0]:g}")
    return found


def conflicts(rows: pl.DataFrame, how: Target) -> float:
    """Return the share of rows in groups of equal features whose targets conflict.

    The targets of a regression conflict if they differ by more than one standard deviation.

    Args:
        rows: the column `features`, a hash of each row's features, and the target's column.
        how: the target's configuration in conf/data.
    """
    if rows.is_empty():
        return 0.0
    answer = pl.col(how.name).cast(pl.Float64)
    apart = float(rows.select(answer.std(ddof=0)).item()) if how.task == "regression" else 0.0
    groups = rows.group_by("features").agg(pl.len(), (answer.max() - answer.min()).alias("apart"))
    return float(groups.filter(pl.col("apart") > apart)["len"].sum() / rows.height)
