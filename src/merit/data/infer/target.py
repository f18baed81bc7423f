"""Guesses the task from the target column's values, and the SQL expression that computes the target."""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from merit.data.infer.guess import FEW
from merit.data.infer.odd import SURELY_MISSING
from merit.data.infer.scalars import value
from merit.data.infer.texts import spellings
from merit.data.infer.written import Written
from merit.errors import MeritError
from merit.expression import quote_name
from merit.reading.cells import read_column
from merit.reading.declaration import build_declaration

NO_CLASS = frozenset({"?", "#n/a", "<na>", "#value!", "#ref!", "#div/0!"})
"""Lower-case marks that mean "no value" even in a target column of texts."""
RARE = 10
"""Minimum rows of a class; fewer can be neither learned nor evaluated."""
MOST_CLASSES = 200
YES = frozenset({
    "yes", "y", "true", "t", "positive", "pos", "on", "success", "bad", "fraud", "churned", "churn", "late", "ja", "j",
    "wahr", "oui", "si", "sí",
})  # fmt: skip
"""Lower-case texts that usually denote the positive class."""


@dataclass(frozen=True)
class Target:
    """The target for conf/data, with a description of the guess and notes for the user."""

    name: str
    task: str
    sql: str
    filter: str | None
    seen: str
    change: str
    """Advice on what to write or run if the guess is wrong."""
    classes: list[Any] | None = None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """The notation of the source's column for conf/data; empty if it can be inferred from the cells."""


def literal(value: Any) -> str:
    """Return a value as an SQL literal."""
    return str(value).lower() if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def target(column: Written, task: str | None, again: str) -> Target:
    """Guess the task from the target column's values, or use the given task, and build the target.

    Args:
        column: the target's column.
        task: binary, multiclass or regression; None to guess.
        again: the command line of this call, for advice to call it with another task.

    Raises:
        MeritError: the values fit no task, or not the given one.
    """
    values = column.values
    if column.problem is not None:
        raise MeritError(f"--target {column.name}: {column.problem}")
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String)):
        raise MeritError(
            f"--target {column.name}: holds {values.dtype}; a target is a number, a word, or true or false"
        )
    known, condition, notes = _known(values)
    counts = known.value_counts(sort=True)
    if counts.height < 2:
        only = f"only {known[0]!r}" if counts.height else "no value"
        raise MeritError(f"--target {column.name}: holds {only}; a model needs two values or more to tell apart")
    make = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[task or _task(known, counts)]
    made = make(known, counts, condition, again)
    found = [*column.notes, *notes, *_doubts(values), *made.notes]
    return replace(made, notes=found, settings=_declared(column))


def told_target(column: Written, raw: pl.Series, task: str | None) -> Written:
    """Return the target's column, as text if frequent texts among few numbers, such as other, may be classes."""
    if column.values.dtype == pl.String and task != "regression":
        return _without_marks(column, raw)
    words, numbers = column.settings.get("null_values", []), column.values.drop_nulls()
    if not words or task == "regression" or not numbers.dtype.is_integer() or numbers.n_unique() > FEW:
        return column
    counts = dict(raw.str.strip_chars().value_counts().rows())
    classes = [word for word in words if counts[word] >= RARE and word.lower() not in SURELY_MISSING]
    if not classes:
        return column
    note = f"'{column.name}': {', '.join(map(repr, classes))} among few numbers is taken for a class"
    return Written(raw, notes=[note])


def _without_marks(column: Written, raw: pl.Series) -> Written:
    """Declare marks such as ? and #N/A as missing in a target column of texts."""
    if raw.dtype != pl.String:
        return column
    counts = raw.str.strip_chars().value_counts(sort=True).drop_nulls()
    marks = counts.filter(pl.col(raw.name).str.to_lowercase().is_in(list(NO_CLASS)))
    if marks.is_empty():
        return column
    words = marks[raw.name].to_list()
    values = read_column(raw, build_declaration(raw.name, {"type": "string", "null_values": words})).values
    shown = ", ".join(map(repr, words[:3]))
    note = f"'{raw.name}': {shown} in {marks['count'].sum():,} of {len(raw):,} rows: read as no answer (null_values)"
    return Written(values, {"null_values": words}, None, "", [note])


def _declared(column: Written) -> dict[str, Any]:
    """Return what conf/data must declare of the target's column; empty if its notation can be inferred."""
    if not column.settings:
        return {}
    dtype = column.values.dtype
    kind = "string" if dtype == pl.String else "integer" if dtype.is_integer() else "number"
    return {"type": kind, **column.settings}


def _doubts(values: pl.Series) -> list[str]:
    """Return notes on texts that may not be classes of their own."""
    if values.dtype != pl.String:
        return []
    notes = []
    if alike := spellings(values):
        notes.append(
            f"{', '.join(alike)} differ in blanks or capitals alone, and are classes of their own; write them alike"
        )
    elif (around := values.filter(values != values.str.strip_chars()).drop_nulls()).len():
        notes.append(f"blanks around words are part of a class, as in {around[0]!r}")
    missing = values.filter(values.str.strip_chars().str.to_lowercase().is_in(list(SURELY_MISSING)))
    for word, count in missing.value_counts(sort=True).rows():
        notes.append(
            f"{word!r} ({count:,} rows) is taken for a class; if it means that there is no answer, empty these cells"
        )
    return notes


def _known(column: pl.Series) -> tuple[pl.Series, str | None, list[str]]:
    """Return the present values, the SQL condition that keeps their rows, and a note on the others."""
    name = quote_name(column.name)
    known = column.drop_nulls()
    condition = f"{name} IS NOT NULL"
    if column.dtype.is_float() and not known.is_finite().all():
        known = known.filter(known.is_finite())
        condition = f"{name} BETWEEN -1e300 AND 1e300"  # neither missing nor NaN nor infinite
    if (gone := len(column) - len(known)) == 0:
        return known, None, []
    return known, condition, [f"{gone:,} of {len(column):,} rows have no target: left out by data.filter"]


def _task(known: pl.Series, counts: pl.DataFrame) -> str:
    if counts.height == 2:
        return "binary"
    return "multiclass" if known.dtype == pl.String or _are_codes(known, counts) else "regression"


def _are_whole(known: pl.Series) -> bool:
    return known.dtype.is_integer() or bool((known - known.round()).abs().max() == 0)


def _are_codes(known: pl.Series, counts: pl.DataFrame) -> bool:
    """Return whether numbers are class codes: whole, few and close together, and not counts with a thin upper tail."""
    low, high = known.min(), known.max()
    near = _are_whole(known) and bool(high - low < 3 * counts.height)  # type: ignore[operator]  # numbers
    rare = counts.filter(pl.col("count") < RARE)[known.name]
    often = counts.filter(pl.col("count") >= RARE)[known.name]
    if not near or counts.height > FEW or len(often) < 2:
        return False
    return rare.is_empty() or not bool(rare.min() > often.max())  # type: ignore[operator]  # numbers


def _binary(known: pl.Series, counts: pl.DataFrame, condition: str | None, again: str) -> Target:
    if counts.height != 2:
        raise MeritError(
            f"--task binary: '{known.name}' has {counts.height:,} values, and it takes two; add a column that says "
            "whether what is asked for is so, and name it as --target"
        )
    first, second = counts.to_series().to_list()
    rows = dict(counts.iter_rows())
    # The positive class is a usual word for yes, otherwise the rarer value.
    positive = first if _means_yes(first, second) and not _means_yes(second, first) else second
    notes = []
    if min(rows.values()) < RARE:
        notes = [f"only {rows[second]:,} rows are {second!r}: too few to judge a model by"]
    name = quote_name(known.name)
    sql = name if positive is True else f"{name} = {literal(positive)}"
    other = first if positive == second else second
    seen = f"{_shown(positive)} in {rows[positive] / len(known):.1%} of {len(known):,} rows, else {_shown(other)}"
    change = f"the other way round: sql: {value(f'{name} = {literal(other)}')}"
    return Target(known.name, "binary", sql, condition, seen, change, notes=notes)


def _means_yes(value: Any, other: Any) -> bool:
    """Return whether a value usually means yes; 1 does if the other value is 0 or -1, but not 2."""
    word, beside = (str(int(v) if isinstance(v, float) and v == int(v) else v).strip().lower() for v in (value, other))
    return word in YES or (word == "1" and beside in {"0", "-1"})


def _multiclass(known: pl.Series, counts: pl.DataFrame, condition: str | None, again: str) -> Target:
    if known.dtype != pl.String and not _are_whole(known):
        raise MeritError(f"--task multiclass: '{known.name}' holds fractions; classes are words or whole numbers")
    frequent = counts.filter(pl.col("count") >= RARE)
    rare = counts.filter(pl.col("count") < RARE)
    if not 2 <= frequent.height <= MOST_CLASSES:
        raise MeritError(
            f"--target {known.name}: has {counts.height:,} values, {frequent.height:,} of them in {RARE} rows or more; "
            f"classes are 2 to {MOST_CLASSES} such values, and many numbers are a regression"
        )
    name, kept, notes = quote_name(known.name), frequent.to_series(), []
    is_text = known.dtype == pl.String
    if rare.height:
        gone = int(rare["count"].sum())
        notes = [f"{rare.height} rare classes ({gone} rows) are left out by data.filter: fewer than {RARE} rows each"]
        condition = f"{name} IN ({', '.join(map(literal, kept.sort().to_list()))})"
    if frequent.height == 2:
        kept_rows = known.filter(known.is_in(kept.implode()))
        made = _binary(kept_rows, frequent, condition, again)
        return replace(made, notes=[*notes, *made.notes])
    share = frequent["count"][0] / frequent["count"].sum()
    seen = f"{frequent.height} classes; the most frequent is {kept[0]} with {share:.1%} of rows"
    if is_text:
        change = "one class against the others: add a column that says which rows are of it, and name it as --target"
        return Target(known.name, "multiclass", name, condition, seen, change, kept.sort().to_list(), notes)
    classes = kept.cast(pl.Int64).sort().to_list()
    change = f"amounts and no classes: '{again} --task regression --force', which keeps all rows"
    return Target(known.name, "multiclass", f"CAST({name} AS BIGINT)", condition, seen, change, classes, notes)


def _regression(known: pl.Series, counts: pl.DataFrame, condition: str | None, again: str) -> Target:
    if not known.dtype.is_numeric():
        holds = "true and false" if known.dtype == pl.Boolean else f"words, such as {known[0]!r}"
        raise MeritError(f"--task regression: '{known.name}' holds {holds}; a regression predicts numbers")
    seen = f"{counts.height:,} different numbers from {known.min()!s} to {known.max()!s}"
    change = "for a yes or no, such as more than 10: add a column that says so, and name it as --target"
    if _are_whole(known) and (counts["count"] >= RARE).sum() >= 2 and counts.height <= MOST_CLASSES:
        change = f"classes and no amounts: '{again} --task multiclass --force'"
    return Target(known.name, "regression", f"CAST({quote_name(known.name)} AS DOUBLE)", condition, seen, change)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()
