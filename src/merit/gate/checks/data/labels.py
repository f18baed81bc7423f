"""Labels: an answer that never varies, and the same features with different answers."""

import polars as pl

from merit.config.schema.data import Target
from merit.data.split import PARTS


def faults(target: pl.Series, place: pl.Series) -> list[str]:
    """Return which parts nothing can be learned from or judged on: those without rows, or with one answer alone."""
    found = []
    for number, part in enumerate(PARTS):
        answers = target.filter(place == number).unique()
        if len(answers) == 0:
            found.append(f"{part} has no rows")
        elif len(answers) == 1:
            found.append(f"every row of {part} has {target.name} = {answers[0]:g}")
    return found


def conflicts(rows: pl.DataFrame, how: Target) -> float:
    """Return the share of rows with the features of another row and another answer.

    Numbers are other answers if they lie more than a standard deviation apart.

    Args:
        rows: `features`, their hash, and the target.
        how: conf/data's target.
    """
    if rows.is_empty():
        return 0.0
    answer = pl.col(how.name).cast(pl.Float64)
    apart = float(rows.select(answer.std(ddof=0)).item()) if how.task == "regression" else 0.0
    groups = rows.group_by("features").agg(pl.len(), (answer.max() - answer.min()).alias("apart"))
    return float(groups.filter(pl.col("apart") > apart)["len"].sum() / rows.height)
