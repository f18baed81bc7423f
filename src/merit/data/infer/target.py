"""Guesses the task from the target column's values, and the SQL expression that computes the target."""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from merit.data.infer.guess import MAX_REVIEWABLE_VALUES
from merit.data.infer.odd import CERTAIN_MISSING_WORDS
from merit.data.infer.scalars import render_value
from merit.data.infer.texts import find_spelling_variants
from merit.data.infer.written import ParsedColumn
from merit.errors import MeritError
from merit.expression import quote_name
from merit.reading.column_cells import read_column
from merit.reading.declaration import build_declaration

MISSING_MARKS = frozenset({"?", "#n/a", "<na>", "#value!", "#ref!", "#div/0!"})
"""Lower-case marks that mean "no value" even in a target column of texts."""
MIN_CLASS_ROWS = 10
"""Minimum rows of a class; fewer can be neither learned nor evaluated."""
MAX_CLASSES = 200
YES_WORDS = frozenset({
    "yes", "y", "true", "t", "positive", "pos", "on", "success", "bad", "fraud", "churned", "churn", "late", "ja", "j",
    "wahr", "oui", "si", "sí",
})  # fmt: skip
"""Lower-case texts that usually denote the positive class."""


@dataclass(frozen=True)
class TargetGuess:
    """The target for conf/data, with a description of the guess and notes for the user."""

    name: str
    task: str
    sql: str
    filter: str | None
    description: str
    change: str
    """Advice on what to write or run if the guess is wrong."""
    classes: list[Any] | None = None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """The notation of the source's column for conf/data; empty if it can be inferred from the cells."""


def render_literal(value: Any) -> str:
    """Return a value as an SQL literal."""
    return str(value).lower() if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def guess_target(column: ParsedColumn, task: str | None, command: str) -> TargetGuess:
    """Guess the task from the target column's values, or use the given task, and build the target.

    Args:
        column: the target's column.
        task: binary, multiclass or regression; None to guess.
        command: the command line of this call, for advice to call it with another task.

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
    present, condition, notes = _filter_present(values)
    counts = present.value_counts(sort=True)
    if counts.height < 2:
        only = f"only {present[0]!r}" if counts.height else "no value"
        raise MeritError(f"--target {column.name}: holds {only}; a model needs two values or more to tell apart")
    build_target = {"binary": _build_binary, "multiclass": _build_multiclass, "regression": _build_regression}[
        task or _guess_task(present, counts)
    ]
    guess = build_target(present, counts, condition, command)
    all_notes = [*column.notes, *notes, *_note_doubtful_classes(values), *guess.notes]
    return replace(guess, notes=all_notes, settings=_declare_notation(column))


def read_target(column: ParsedColumn, raw: pl.Series, task: str | None) -> ParsedColumn:
    """Return the target's column, as text if frequent texts among few numbers, such as other, may be classes."""
    if column.values.dtype == pl.String and task != "regression":
        return _drop_missing_marks(column, raw)
    words, numbers = column.settings.get("null_values", []), column.values.drop_nulls()
    if (
        not words
        or task == "regression"
        or not numbers.dtype.is_integer()
        or numbers.n_unique() > MAX_REVIEWABLE_VALUES
    ):
        return column
    counts = dict(raw.str.strip_chars().value_counts().rows())
    classes = [word for word in words if counts[word] >= MIN_CLASS_ROWS and word.lower() not in CERTAIN_MISSING_WORDS]
    if not classes:
        return column
    note = f"'{column.name}': {', '.join(map(repr, classes))} among few numbers is taken for a class"
    return ParsedColumn(raw, notes=[note])


def _drop_missing_marks(column: ParsedColumn, raw: pl.Series) -> ParsedColumn:
    """Declare marks such as ? and #N/A as missing in a target column of texts."""
    if raw.dtype != pl.String:
        return column
    counts = raw.str.strip_chars().value_counts(sort=True).drop_nulls()
    marks = counts.filter(pl.col(raw.name).str.to_lowercase().is_in(list(MISSING_MARKS)))
    if marks.is_empty():
        return column
    mark_texts = marks[raw.name].to_list()
    values = read_column(raw, build_declaration(raw.name, {"type": "string", "null_values": mark_texts})).values
    mark_list = ", ".join(map(repr, mark_texts[:3]))
    note = (
        f"'{raw.name}': {mark_list} in {marks['count'].sum():,} of {len(raw):,} rows: read as no answer (null_values)"
    )
    return ParsedColumn(values, {"null_values": mark_texts}, None, "", [note])


def _declare_notation(column: ParsedColumn) -> dict[str, Any]:
    """Return what conf/data must declare of the target's column; empty if its notation can be inferred."""
    if not column.settings:
        return {}
    dtype = column.values.dtype
    kind = "string" if dtype == pl.String else "integer" if dtype.is_integer() else "number"
    return {"type": kind, **column.settings}


def _note_doubtful_classes(values: pl.Series) -> list[str]:
    """Return notes on texts that may not be classes of their own."""
    if values.dtype != pl.String:
        return []
    notes = []
    if similar := find_spelling_variants(values):
        notes.append(
            f"{', '.join(similar)} differ in blanks or capitals alone, and are classes of their own; write them alike"
        )
    elif (padded := values.filter(values != values.str.strip_chars()).drop_nulls()).len():
        notes.append(f"blanks around words are part of a class, as in {padded[0]!r}")
    missing = values.filter(values.str.strip_chars().str.to_lowercase().is_in(list(CERTAIN_MISSING_WORDS)))
    for word, count in missing.value_counts(sort=True).rows():
        notes.append(
            f"{word!r} ({count:,} rows) is taken for a class; if it means that there is no answer, empty these cells"
        )
    return notes


def _filter_present(values: pl.Series) -> tuple[pl.Series, str | None, list[str]]:
    """Return the present values, the SQL condition that keeps their rows, and a note on the others."""
    name = quote_name(values.name)
    present = values.drop_nulls()
    condition = f"{name} IS NOT NULL"
    if values.dtype.is_float() and not present.is_finite().all():
        present = present.filter(present.is_finite())
        condition = f"{name} BETWEEN -1e300 AND 1e300"  # neither missing nor NaN nor infinite
    if (missing_count := len(values) - len(present)) == 0:
        return present, None, []
    return present, condition, [f"{missing_count:,} of {len(values):,} rows have no target: left out by data.filter"]


def _guess_task(present: pl.Series, counts: pl.DataFrame) -> str:
    if counts.height == 2:
        return "binary"
    return "multiclass" if present.dtype == pl.String or _are_codes(present, counts) else "regression"


def _are_whole(present: pl.Series) -> bool:
    return present.dtype.is_integer() or bool((present - present.round()).abs().max() == 0)


def _are_codes(present: pl.Series, counts: pl.DataFrame) -> bool:
    """Return whether numbers are class codes: whole, few and close together, and not counts with a thin upper tail."""
    low, high = present.min(), present.max()
    are_close = _are_whole(present) and bool(high - low < 3 * counts.height)  # type: ignore[operator]  # numbers
    rare = counts.filter(pl.col("count") < MIN_CLASS_ROWS)[present.name]
    frequent = counts.filter(pl.col("count") >= MIN_CLASS_ROWS)[present.name]
    if not are_close or counts.height > MAX_REVIEWABLE_VALUES or len(frequent) < 2:
        return False
    return rare.is_empty() or not bool(rare.min() > frequent.max())  # type: ignore[operator]  # numbers


def _build_binary(present: pl.Series, counts: pl.DataFrame, condition: str | None, command: str) -> TargetGuess:
    if counts.height != 2:
        raise MeritError(
            f"--task binary: '{present.name}' has {counts.height:,} values, and it takes two; add a column that says "
            "whether what is asked for is so, and name it as --target"
        )
    first, second = counts.to_series().to_list()
    rows = dict(counts.iter_rows())
    # The positive class is a usual word for yes, otherwise the rarer value.
    positive = first if _means_yes(first, second) and not _means_yes(second, first) else second
    notes = []
    if min(rows.values()) < MIN_CLASS_ROWS:
        notes = [f"only {rows[second]:,} rows are {second!r}: too few to judge a model by"]
    name = quote_name(present.name)
    sql = name if positive is True else f"{name} = {render_literal(positive)}"
    other = first if positive == second else second
    seen = (
        f"{_quote_value(positive)} in {rows[positive] / len(present):.1%} of {len(present):,} rows, else "
        f"{_quote_value(other)}"
    )
    change = f"the other way round: sql: {render_value(f'{name} = {render_literal(other)}')}"
    return TargetGuess(present.name, "binary", sql, condition, seen, change, notes=notes)


def _means_yes(value: Any, other: Any) -> bool:
    """Return whether a value usually means yes; 1 does if the other value is 0 or -1, but not 2."""
    text, other_text = (
        str(int(item) if isinstance(item, float) and item == int(item) else item).strip().lower()
        for item in (value, other)
    )
    return text in YES_WORDS or (text == "1" and other_text in {"0", "-1"})


def _build_multiclass(present: pl.Series, counts: pl.DataFrame, condition: str | None, command: str) -> TargetGuess:
    if present.dtype != pl.String and not _are_whole(present):
        raise MeritError(f"--task multiclass: '{present.name}' holds fractions; classes are words or whole numbers")
    frequent = counts.filter(pl.col("count") >= MIN_CLASS_ROWS)
    rare = counts.filter(pl.col("count") < MIN_CLASS_ROWS)
    if not 2 <= frequent.height <= MAX_CLASSES:
        raise MeritError(
            f"--target {present.name}: has {counts.height:,} values, {frequent.height:,} of them in {MIN_CLASS_ROWS} "
            "rows or more; "
            f"classes are 2 to {MAX_CLASSES} such values, and many numbers are a regression"
        )
    name, class_values, notes = quote_name(present.name), frequent.to_series(), []
    is_text = present.dtype == pl.String
    if rare.height:
        rare_rows = int(rare["count"].sum())
        notes = [
            f"{rare.height} rare classes ({rare_rows} rows) are left out by data.filter: fewer than {MIN_CLASS_ROWS} "
            "rows each"
        ]
        condition = f"{name} IN ({', '.join(map(render_literal, class_values.sort().to_list()))})"
    if frequent.height == 2:
        class_rows = present.filter(present.is_in(class_values.implode()))
        guess = _build_binary(class_rows, frequent, condition, command)
        return replace(guess, notes=[*notes, *guess.notes])
    share = frequent["count"][0] / frequent["count"].sum()
    seen = f"{frequent.height} classes; the most frequent is {class_values[0]} with {share:.1%} of rows"
    if is_text:
        change = "one class against the others: add a column that says which rows are of it, and name it as --target"
        return TargetGuess(
            present.name, "multiclass", name, condition, seen, change, class_values.sort().to_list(), notes
        )
    classes = class_values.cast(pl.Int64).sort().to_list()
    change = f"amounts and no classes: '{command} --task regression --force', which keeps all rows"
    return TargetGuess(present.name, "multiclass", f"CAST({name} AS BIGINT)", condition, seen, change, classes, notes)


def _build_regression(present: pl.Series, counts: pl.DataFrame, condition: str | None, command: str) -> TargetGuess:
    if not present.dtype.is_numeric():
        holds = "true and false" if present.dtype == pl.Boolean else f"words, such as {present[0]!r}"
        raise MeritError(f"--task regression: '{present.name}' holds {holds}; a regression predicts numbers")
    seen = f"{counts.height:,} different numbers from {present.min()!s} to {present.max()!s}"
    change = "for a yes or no, such as more than 10: add a column that says so, and name it as --target"
    if _are_whole(present) and (counts["count"] >= MIN_CLASS_ROWS).sum() >= 2 and counts.height <= MAX_CLASSES:
        change = f"classes and no amounts: '{command} --task multiclass --force'"
    return TargetGuess(
        present.name, "regression", f"CAST({quote_name(present.name)} AS DOUBLE)", condition, seen, change
    )


def _quote_value(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()
