"""What is asked: the task that a target's values set, and the SQL that makes the target of them."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from merit.data.infer.guess import FEW
from merit.errors import MeritError
from merit.expression import quoted

RARE = 10
"""A class of fewer rows can be neither learned nor judged."""
MOST_CLASSES = 200
YES = ("yes", "y", "true", "t", "positive", "pos", "on", "success", "bad", "fraud", "churned", "churn", "late")
"""Words that usually mean that the thing asked for is so."""


@dataclass(frozen=True)
class Target:
    """The target as conf/data names it, and what a person should know of the guess."""

    name: str
    task: str
    sql: str
    filter: str | None
    seen: str
    change: str
    """What to write if the guess is wrong."""
    classes: list[Any] | None = None
    notes: list[str] = field(default_factory=list)


def literal(value: Any) -> str:
    """Return a value as SQL takes it."""
    return str(value).lower() if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def target(column: pl.Series) -> Target:
    """Guess the task from the values of the target's column.

    Raises:
        MeritError: its values set no task.
    """
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.String)):
        raise MeritError(
            f"--target {column.name}: holds {column.dtype}; a target is a number, a word, or true or false"
        )
    known, condition, notes = _known(column)
    counts = known.value_counts(sort=True)
    values = counts.height
    if values < 2:
        only = f"only {known[0]!r}" if values else "no value"
        raise MeritError(f"--target {column.name}: holds {only}; a model needs two values or more to tell apart")
    if values == 2:
        return _binary(known, counts, condition, notes)
    if column.dtype == pl.String or _are_codes(known, counts):
        return _multiclass(known, counts, condition, notes)
    sql = f"CAST({quoted(column.name)} AS DOUBLE)"
    seen = f"{values:,} different numbers from {known.min()!s} to {known.max()!s}"
    change = (
        'for classes: task: multiclass with classes: [...], or a condition such as sql: "..." > 10 for task: binary'
    )
    return Target(column.name, "regression", sql, condition, seen, change, notes=notes)


def _known(column: pl.Series) -> tuple[pl.Series, str | None, list[str]]:
    """Return the values that are there, the SQL that keeps their rows, and a note of the others."""
    name = quoted(column.name)
    known = column.drop_nulls()
    condition = f"{name} IS NOT NULL"
    if column.dtype.is_float() and not known.is_finite().all():
        known = known.filter(known.is_finite())
        condition = f"{name} BETWEEN -1e300 AND 1e300"  # neither missing nor NaN nor infinite
    if (gone := len(column) - len(known)) == 0:
        return known, None, []
    return known, condition, [f"{gone:,} of {len(column):,} rows have no target: left out by data.filter"]


def _are_codes(known: pl.Series, counts: pl.DataFrame) -> bool:
    """Say whether numbers are codes of classes: whole, few, close together, and each often there."""
    low, high = known.min(), known.max()
    whole = known.dtype.is_integer() or bool((known - known.round()).abs().max() == 0)
    near = whole and bool(high - low < 3 * counts.height)  # type: ignore[operator]  # numbers
    return near and counts.height <= FEW and len(known) >= RARE * counts.height


def _binary(known: pl.Series, counts: pl.DataFrame, condition: str | None, notes: list[str]) -> Target:
    first, second = counts.to_series().to_list()
    rows = dict(counts.iter_rows())
    # The usual word, or else the rarer value.
    positive = first if _means_yes(first, second) and not _means_yes(second, first) else second
    if min(rows.values()) < RARE:
        notes = [*notes, f"only {rows[second]:,} rows are {second!r}: too few to judge a model by"]
    name = quoted(known.name)
    sql = name if positive is True else f"{name} = {literal(positive)}"
    other = first if positive == second else second
    seen = f"{_shown(positive)} in {rows[positive] / len(known):.1%} of {len(known):,} rows, else {_shown(other)}"
    return Target(
        known.name, "binary", sql, condition, seen, f"the other way round: sql: {name} = {literal(other)}", notes=notes
    )


def _means_yes(value: Any, other: Any) -> bool:
    """Say whether a value is a usual yes; 1 is one beside 0 or -1, but not beside 2."""
    word, beside = (str(int(v) if isinstance(v, float) and v == int(v) else v).strip().lower() for v in (value, other))
    return word in YES or (word == "1" and beside in {"0", "-1"})


def _multiclass(known: pl.Series, counts: pl.DataFrame, condition: str | None, notes: list[str]) -> Target:
    frequent = counts.filter(pl.col("count") >= RARE)
    rare = counts.filter(pl.col("count") < RARE)
    if not 2 <= frequent.height <= MOST_CLASSES:
        raise MeritError(
            f"--target {known.name}: has {counts.height:,} values, {frequent.height:,} of them in {RARE} rows or more; "
            f"classes are 2 to {MOST_CLASSES} such values, and many numbers are a regression"
        )
    name, kept = quoted(known.name), frequent.to_series()
    if rare.height:
        gone = int(rare["count"].sum())
        notes = [
            *notes,
            f"{rare.height} rare classes ({gone} rows) are left out by data.filter: fewer than {RARE} rows each",
        ]
        condition = f"{name} IN ({', '.join(map(literal, kept.sort().to_list()))})"
    if frequent.height == 2:
        return _binary(known.filter(known.is_in(kept.to_list())), frequent, condition, notes)
    share = frequent["count"][0] / frequent["count"].sum()
    seen = f"{frequent.height} classes; the most frequent is {kept[0]} with {share:.1%} of rows"
    if known.dtype == pl.String:
        change = "one class against the others: task: binary, sql: ... = '...', no classes, override /gate: default"
        return Target(known.name, "multiclass", name, condition, seen, change, kept.sort().to_list(), notes)
    change = (
        f"a number, no class: task: regression, sql: CAST({name} AS DOUBLE), no classes, override /gate: regression"
    )
    classes = kept.cast(pl.Int64).sort().to_list()
    return Target(known.name, "multiclass", f"CAST({name} AS BIGINT)", condition, seen, change, classes, notes)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()
