"""Guesses conf/data and conf/experiment for a table (`merit infer`); the user reviews and corrects the result.

`source_table` reads the source as `merit ingest` will, `target` guesses the task, `column_guesses` each column,
`leaks` finds columns that reveal the target, `size_settings` chooses split and thresholds for the number of rows,
`render` writes YAML.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from merit import artifacts
from merit.config.problems import suggest_allowed
from merit.config.schema.gate import DataGate
from merit.data.entities import Entity
from merit.data.infer import leaks, plan, render
from merit.data.infer.belonging import find_entities, hint_entities
from merit.data.infer.guess import MAX_REVIEWABLE_VALUES, ColumnGuess, guess_columns, select_features
from merit.data.infer.opened import SourceTable, check_options, open_source
from merit.data.infer.target import TargetGuess, guess_target, read_target
from merit.data.infer.written import ParsedColumn, parse_column
from merit.data.ingest import count_duplicates, hash_rows
from merit.errors import MeritError
from merit.expression import evaluate

MIN_ROWS = 30
"""Minimum rows for a training, a validation and a test part."""
MAX_SLICES = 4


@dataclass(frozen=True)
class InferredConfig:
    """The result of `infer`: the files written, and the guesses, notes and warnings to review."""

    name: str
    files: list[Path]
    target: TargetGuess
    columns: list[ColumnGuess]
    rows: int
    notes: list[str]
    warnings: list[str]


def infer(
    path: str,
    target: str,
    *,
    time: str | None = None,
    task: str | None = None,
    dates: str | None = None,
    name: str | None = None,
    query: str | None = None,
    table: str | None = None,
    force: bool = False,
) -> InferredConfig:
    """Guess a configuration for a table and write conf/data/NAME.yaml and conf/experiment/NAME.yaml.

    Args:
        path: a file, or a database's URL.
        target: the column to predict.
        time: the column with the time of each row; None to split without time.
        task: binary, multiclass or regression; None to guess.
        dates: dmy, mdy or ymd, for ambiguous date columns.
        name: the model's name; None for the name of the file or table.
        query: a SELECT statement, for a database.
        table: the table's name, for a database, instead of `query`.
        force: whether existing files are overwritten.

    Raises:
        MeritError: the table can't be read, has no such column, or has nothing to learn from; a file exists already.
    """
    check_options(path, query, table)
    options = {"--time": time, "--dates": dates, "--name": name, "--query": query, "--table": table}
    command = _render_command(path, target, options)
    name = _resolve_name(name, path, table)
    files = [artifacts.CONF / group / f"{name}.yaml" for group in ("data", "experiment")]
    _check_files(files, force=force)
    source = open_source(path, query, table)
    _check_columns(source, target, time)
    raw_target = source.table[target]
    columns = _parse_columns(source, dates)
    _require_time_column(columns, time)
    columns[target] = read_target(columns[target], raw_target, task)
    target_guess = guess_target(columns[target], task, command)
    rows, notes = _filter_rows(
        pl.DataFrame({name: parsed.values for name, parsed in columns.items()}), target_guess, time
    )
    other_columns = [column for column in columns.values() if column.name != target]
    notes = [*source.notes, *target_guess.notes, *(note for column in other_columns for note in column.notes), *notes]
    return _guess_config(files, source, UsedRows(rows, other_columns, target_guess, time), notes)


def _render_command(path: str, target: str, options: Mapping[str, str | None]) -> str:
    """Return the command line of this call, to which advice adds options."""
    option_words = [text for option, value in options.items() if value for text in (option, value)]
    return shlex.join(["merit", "infer", path, "--target", target, *option_words])


@dataclass(frozen=True)
class UsedRows:
    """The rows in use, the notation of their columns (without the target), the target, and the time column."""

    table: pl.DataFrame
    columns: list[ParsedColumn]
    target: TargetGuess
    time: str | None


def _parse_columns(source: SourceTable, order: str | None) -> dict[str, ParsedColumn]:
    """Detect the notation of each column; columns are removed from the table to free their memory."""
    with_semicolons = source.component.get("separator") == ";"
    parsed = {}
    for name in source.table.columns:
        raw = source.table.drop_in_place(name)
        parsed[name] = parse_column(
            raw.alias(name), is_text=source.is_text, with_semicolons=with_semicolons, order=order
        )
    return parsed


def _guess_config(files: list[Path], source: SourceTable, used_rows: UsedRows, notes: list[str]) -> InferredConfig:
    """Guess the settings for the rows in use, write both files and return the guesses."""
    name, rows, target_guess, time = files[0].stem, used_rows.table, used_rows.target, used_rows.time
    target_values = evaluate(target_guess.sql, rows).alias(target_guess.name)
    guesses_found = _leave_out_odd_sizes(guess_columns(rows, used_rows.columns, time))
    names = [guess.name for guess in guesses_found if guess.settings and guess.name != time]
    entities = find_entities(rows, names)
    split = plan.plan_split(
        rows, time, entities[0] if entities else None, None if target_guess.task == "regression" else target_values
    )
    columns, warnings = _leave_out_leaks(
        [_guess_entity(guess, entities, split) for guess in guesses_found], rows, target_values, target_guess.task, time
    )
    repeats, duplicates = _check_duplicates(rows)
    notes = [*notes, *repeats, *split.notes, *([] if entities else hint_entities(rows, names))]
    sections = _plan_sections(columns, split, target_values, used_rows, duplicates)
    texts = [
        render.render_data(
            source.component,
            target_guess,
            columns,
            split,
            time=time,
            window=_compute_window(rows, time),
            rows=plan.bound_rows(rows.height),
            row_count=rows.height,
            notes=[*warnings, *notes],
        ),
        render.render_experiment(name, target_guess.task, sections, plan.plan_model(columns)),
    ]
    _write_files(files, texts)
    return InferredConfig(name, files, target_guess, columns, rows.height, notes, warnings)


def _resolve_name(name: str | None, path: str, table: str | None) -> str:
    """Return the given name, or one derived from the file or table."""
    if name is not None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise MeritError(f"--name: found '{name}'; allowed: a small letter, then small letters, digits, _ and -")
        return name
    stem = table or ("" if "://" in path else Path(path).name.partition(".")[0])
    name_from_source = re.sub(r"[^a-z0-9]+", "_", stem.lower()).lstrip("_0123456789").rstrip("_")
    if not name_from_source:
        raise MeritError(f"'{path}' makes no name for the model; give one with --name")
    return name_from_source


def _check_files(files: list[Path], *, force: bool) -> None:
    if not (artifacts.CONF / "config.yaml").is_file():
        raise MeritError(f"{artifacts.CONF}/config.yaml: not found; run merit in the folder that holds conf/")
    for file in files:
        if file.exists() and not force:
            raise MeritError(f"{file}: is there already; choose another --name, or write over it with --force")


def _check_columns(source: SourceTable, target: str, time: str | None) -> None:
    names = source.table.columns
    for option, name in {"--target": target, "--time": time}.items():
        if name is not None and name not in names:
            doubt_note = "".join(f"; {note}" for note in source.notes if note.startswith("the first line"))
            raise MeritError(f"{option}: the table has no column '{name}'; {suggest_allowed(name, names)}{doubt_note}")
    if time == target:
        raise MeritError(f"--time: '{time}' is the target too; name the column that says when a row was")


def _require_time_column(columns: Mapping[str, ParsedColumn], time: str | None) -> None:
    if time is None:
        return
    if problem := columns[time].problem:
        raise MeritError(f"--time: '{time}': {problem}")
    if not columns[time].values.dtype.is_temporal():
        raise MeritError(
            f"--time: '{time}' holds {columns[time].values.dtype}, no dates or times that can be read; write them as "
            "2024-12-31 or 2024-12-31T23:59"
        )


def _filter_rows(table: pl.DataFrame, target: TargetGuess, time: str | None) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows that data.filter and data.window will keep, with notes."""
    notes = []
    if target.filter is not None:
        table = table.filter(evaluate(target.filter, table))
    if time is not None and (missing_count := table[time].null_count()):
        notes = [f"{missing_count:,} rows have no {time}: left out by data.window"]
        table = table.filter(pl.col(time).is_not_null())
    if table.height < MIN_ROWS:
        raise MeritError(
            f"found {table.height} rows that can be used; at least {MIN_ROWS} are needed to train and judge"
        )
    return table, notes


def _leave_out_odd_sizes(column_guesses: list[ColumnGuess]) -> list[ColumnGuess]:
    """Leave out array columns whose height and width differ from the first: a network takes one size."""
    sizes = {
        guess.name: sorted(guess.settings["shape"])[-2:]
        for guess in select_features(column_guesses)
        if "shape" in guess.settings
    }
    first = next(iter(sizes.values()), None)
    other = "a network takes arrays of one height and width, and the first column of them has another"
    return [
        replace(guess, left_out=other) if sizes.get(guess.name, first) != first else guess for guess in column_guesses
    ]


def _check_duplicates(rows: pl.DataFrame) -> tuple[list[str], dict[str, float]]:
    """Return a note and the gate limit to set if there are more duplicate rows than the gate allows by default."""
    count, limit = count_duplicates(hash_rows(rows)), DataGate().duplicates
    if count <= limit * rows.height:
        return [], {}
    if count <= plan.estimate_chance_duplicates(rows):
        allowed = min(1.0, plan.round_up(2 * count / rows.height))
        note = f"{count:,} of {rows.height:,} rows repeat another one whole, as chance makes of so few different values"
        return [f"{note}: gate.data.duplicates allows {allowed:.0%}"], {"duplicates": allowed}
    note = (
        f"{count:,} of {rows.height:,} rows repeat another one whole, and the gate allows {limit:.0%}: drop them in "
        "the source, or, if rows may be alike, raise gate.data.duplicates"
    )
    return [note], {}


def _guess_entity(guess: ColumnGuess, entities: list[Entity], split: plan.SplitPlan) -> ColumnGuess:
    """Return the guess, changed if the column names entities: the first such column stays, but not as a feature."""
    entity = next((candidate for candidate in entities if candidate.name == guess.name), None)
    if entity is None:
        return guess
    count_text = f"{entity.values:,} values in {entity.rows:,} rows"
    if entity is entities[0] and split.settings["by"] in {"group", "time"}:
        settings = {name: value for name, value in guess.settings.items() if name in {"type", "missing"}}
        kind = "string" if settings["type"] == "string" else "integer"
        return replace(
            guess, settings=settings | {"type": kind}, description=f"whose rows these are: {count_text}", left_out=None
        )
    return replace(guess, left_out=f"it names whose rows these are: {count_text}")


def _leave_out_leaks(
    column_guesses: list[ColumnGuess], rows: pl.DataFrame, target_values: pl.Series, task: str, time: str | None
) -> tuple[list[ColumnGuess], list[str]]:
    """Leave out the columns that reveal the target; return the guesses and a warning per such column."""
    feature_names = [guess.name for guess in select_features(column_guesses) if guess.settings["type"] != "array"]
    leak_scores = leaks.find_leaks(rows.select(feature_names), target_values, task)
    measure = {"binary": "ROC AUC", "multiclass": "skill", "regression": "R²"}[task]
    column_guesses = [
        replace(guess, left_out=f"it gives the target away: {measure} {leak_scores[guess.name]:.3f} by itself")
        if guess.name in leak_scores
        else guess
        for guess in column_guesses
    ]
    warnings = [
        f"'{name}' gives the target away: {measure} {score:.3f} by itself. It is left out; if it is known before the "
        "answer is, take the # away from its line"
        for name, score in leak_scores.items()
    ]
    return _require_feature(column_guesses, time), warnings


def _require_feature(column_guesses: list[ColumnGuess], time: str | None) -> list[ColumnGuess]:
    if any(select_features(column_guesses)):
        return column_guesses
    if time is None:
        reasons = "; ".join(f"{guess.name}: {guess.left_out}" for guess in column_guesses[:5])
        raise MeritError(f"no column is left to learn from ({reasons or 'the target is the only one'})")
    return [replace(g, settings={**g.settings, "feature": "time"}) if g.name == time else g for g in column_guesses]


def _compute_window(rows: pl.DataFrame, time: str | None) -> dict[str, Any] | None:
    if time is None:
        return None
    days = plan.extract_days(rows, time)
    return {"start": days.min(), "end": days.max()}


def _plan_sections(
    columns: list[ColumnGuess],
    split: plan.SplitPlan,
    target_values: pl.Series,
    used_rows: UsedRows,
    duplicates: dict[str, float],
) -> dict[str, dict[str, Any]]:
    """Return the sections of the experiment, with values for the number of rows."""
    task = used_rows.target.task
    train, test = split.rows["train"], split.rows["test"]
    slice_candidates = [
        g for g in select_features(columns) if g.settings["feature"] == "category" and g.values <= MAX_REVIEWABLE_VALUES
    ]
    slices = [guess.name for guess in sorted(slice_candidates, key=lambda guess: guess.values)[:MAX_SLICES]]
    leakage = {"leakage": {"overlap": 1.0}} if used_rows.time and split.settings["by"] != "time" else {}
    data = {"data": {**duplicates, **leakage}} if duplicates or leakage else {}
    return {
        "features": {"category": {"min_count": plan.choose_min_count(train)}},
        "trainer": plan.plan_trainer(train, task),
        "evaluate": {"slices": slices} | plan.plan_evaluation(test),
        "gate": plan.plan_gate(target_values, test, task) | plan.plan_time_limits(columns) | data,
    }


def _write_files(files: list[Path], texts: list[str]) -> None:
    """Write both files; restore the previous content of both if one fails."""
    previous = [file.read_bytes() if file.is_file() else None for file in files]
    try:
        for file, text in zip(files, texts, strict=True):
            artifacts.write_text(file, text)
    except BaseException:
        for file, content in zip(files, previous, strict=True):
            if content is not None:
                file.write_bytes(content)
            else:
                file.unlink(missing_ok=True)
        raise
