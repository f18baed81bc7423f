"""Guesses conf/data and conf/experiment for a table (`merit infer`); the user reviews and corrects the result.

`opened` reads the source as `merit ingest` will, `target` guesses the task, `guess` each column,
`leaks` finds columns that reveal the target, `plan` chooses split and thresholds for the number of rows,
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
from merit.data.infer.belonging import entity_columns, hints
from merit.data.infer.guess import FEW, Guess, features, guesses
from merit.data.infer.opened import Opened, check, opened
from merit.data.infer.target import Target, told_target
from merit.data.infer.target import target as asked_of
from merit.data.infer.written import Written, written
from merit.data.ingest import repeated_rows, row_hashes
from merit.errors import MeritError
from merit.expression import evaluate

FEWEST = 30
"""Minimum rows for a training, a validation and a test part."""
SLICES = 4


@dataclass(frozen=True)
class Inferred:
    """The result of `infer`: the files written, and the guesses, notes and warnings to review."""

    name: str
    files: list[Path]
    target: Target
    columns: list[Guess]
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
) -> Inferred:
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
    check(path, query, table)
    options = {"--time": time, "--dates": dates, "--name": name, "--query": query, "--table": table}
    again = _command(path, target, options)
    name = _name(name, path, table)
    files = [artifacts.CONF / group / f"{name}.yaml" for group in ("data", "experiment")]
    _check_place(files, force=force)
    source = opened(path, query, table)
    _check_columns(source, target, time)
    asked_for = source.table[target]
    columns = _read_columns(source, dates)
    _check_time(columns, time)
    columns[target] = told_target(columns[target], asked_for, task)
    asked = asked_of(columns[target], task, again)
    rows, notes = _used(pl.DataFrame({name: each.values for name, each in columns.items()}), asked, time)
    others = [column for column in columns.values() if column.name != target]
    notes = [*source.notes, *asked.notes, *(note for column in others for note in column.notes), *notes]
    return _guessed(files, source, Rows(rows, others, asked, time), notes)


def _command(path: str, target: str, options: Mapping[str, str | None]) -> str:
    """Return the command line of this call, to which advice adds options."""
    more = [text for option, value in options.items() if value for text in (option, value)]
    return shlex.join(["merit", "infer", path, "--target", target, *more])


@dataclass(frozen=True)
class Rows:
    """The rows in use, the notation of their columns (without the target), the target, and the time column."""

    table: pl.DataFrame
    columns: list[Written]
    asked: Target
    time: str | None


def _read_columns(source: Opened, order: str | None) -> dict[str, Written]:
    """Detect the notation of each column; columns are removed from the table to free their memory."""
    semicolons = source.component.get("separator") == ";"
    found = {}
    for name in source.table.columns:
        raw = source.table.drop_in_place(name)
        found[name] = written(raw.alias(name), is_text=source.is_text, with_semicolons=semicolons, order=order)
    return found


def _guessed(files: list[Path], source: Opened, used: Rows, notes: list[str]) -> Inferred:
    """Guess the settings for the rows in use, write both files and return the guesses."""
    name, rows, asked, time = files[0].stem, used.table, used.asked, used.time
    truth = evaluate(asked.sql, rows).alias(asked.name)
    found = _of_one_size(guesses(rows, used.columns, time))
    names = [guess.name for guess in found if guess.settings and guess.name != time]
    entities = entity_columns(rows, names)
    parts = plan.split(rows, time, entities[0] if entities else None, None if asked.task == "regression" else truth)
    columns, warnings = _columns([_belonging(guess, entities, parts) for guess in found], rows, truth, asked.task, time)
    repeats, duplicates = _repeats(rows)
    notes = [*notes, *repeats, *parts.notes, *([] if entities else hints(rows, names))]
    sections = _sections(columns, parts, truth, used, duplicates)
    texts = [
        render.data(
            source.component,
            asked,
            columns,
            parts,
            time=time,
            window=_window(rows, time),
            rows=plan.around(rows.height),
            seen=rows.height,
            notes=[*warnings, *notes],
        ),
        render.experiment(name, asked.task, sections, plan.model(columns)),
    ]
    _write(files, texts)
    return Inferred(name, files, asked, columns, rows.height, notes, warnings)


def _name(name: str | None, path: str, table: str | None) -> str:
    """Return the given name, or one derived from the file or table."""
    if name is not None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise MeritError(f"--name: found '{name}'; allowed: a small letter, then small letters, digits, _ and -")
        return name
    stem = table or ("" if "://" in path else Path(path).name.partition(".")[0])
    made = re.sub(r"[^a-z0-9]+", "_", stem.lower()).lstrip("_0123456789").rstrip("_")
    if not made:
        raise MeritError(f"'{path}' makes no name for the model; give one with --name")
    return made


def _check_place(files: list[Path], *, force: bool) -> None:
    if not (artifacts.CONF / "config.yaml").is_file():
        raise MeritError(f"{artifacts.CONF}/config.yaml: not found; run merit in the folder that holds conf/")
    for file in files:
        if file.exists() and not force:
            raise MeritError(f"{file}: is there already; choose another --name, or write over it with --force")


def _check_columns(source: Opened, target: str, time: str | None) -> None:
    names = source.table.columns
    for option, name in {"--target": target, "--time": time}.items():
        if name is not None and name not in names:
            doubt = "".join(f"; {note}" for note in source.notes if note.startswith("the first line"))
            raise MeritError(f"{option}: the table has no column '{name}'; {suggest_allowed(name, names)}{doubt}")
    if time == target:
        raise MeritError(f"--time: '{time}' is the target too; name the column that says when a row was")


def _check_time(columns: Mapping[str, Written], time: str | None) -> None:
    if time is None:
        return
    if problem := columns[time].problem:
        raise MeritError(f"--time: '{time}': {problem}")
    if not columns[time].values.dtype.is_temporal():
        raise MeritError(
            f"--time: '{time}' holds {columns[time].values.dtype}, no dates or times that can be read; write them as "
            "2024-12-31 or 2024-12-31T23:59"
        )


def _used(table: pl.DataFrame, asked: Target, time: str | None) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows that data.filter and data.window will keep, with notes."""
    notes = []
    if asked.filter is not None:
        table = table.filter(evaluate(asked.filter, table))
    if time is not None and (gone := table[time].null_count()):
        notes = [f"{gone:,} rows have no {time}: left out by data.window"]
        table = table.filter(pl.col(time).is_not_null())
    if table.height < FEWEST:
        raise MeritError(f"found {table.height} rows that can be used; at least {FEWEST} are needed to train and judge")
    return table, notes


def _of_one_size(found: list[Guess]) -> list[Guess]:
    """Leave out array columns whose height and width differ from the first: a network takes one size."""
    sizes = {guess.name: sorted(guess.settings["shape"])[-2:] for guess in features(found) if "shape" in guess.settings}
    first = next(iter(sizes.values()), None)
    other = "a network takes arrays of one height and width, and the first column of them has another"
    return [replace(guess, left_out=other) if sizes.get(guess.name, first) != first else guess for guess in found]


def _repeats(rows: pl.DataFrame) -> tuple[list[str], dict[str, float]]:
    """Return a note and the gate limit to set if there are more duplicate rows than the gate allows by default."""
    count, limit = repeated_rows(row_hashes(rows)), DataGate().duplicates
    if count <= limit * rows.height:
        return [], {}
    if count <= plan.chance_repeats(rows):
        allowed = min(1.0, plan.up(2 * count / rows.height))
        note = f"{count:,} of {rows.height:,} rows repeat another one whole, as chance makes of so few different values"
        return [f"{note}: gate.data.duplicates allows {allowed:.0%}"], {"duplicates": allowed}
    note = (
        f"{count:,} of {rows.height:,} rows repeat another one whole, and the gate allows {limit:.0%}: drop them in "
        "the source, or, if rows may be alike, raise gate.data.duplicates"
    )
    return [note], {}


def _belonging(guess: Guess, entities: list[Entity], parts: plan.Split) -> Guess:
    """Return the guess, changed if the column names entities: the first such column stays, but not as a feature."""
    found = next((each for each in entities if each.name == guess.name), None)
    if found is None:
        return guess
    seen = f"{found.values:,} values in {found.rows:,} rows"
    if found is entities[0] and parts.settings["by"] in {"group", "time"}:
        settings = {name: value for name, value in guess.settings.items() if name in {"type", "missing"}}
        kind = "string" if settings["type"] == "string" else "integer"
        return replace(guess, settings=settings | {"type": kind}, seen=f"whose rows these are: {seen}", left_out=None)
    return replace(guess, left_out=f"it names whose rows these are: {seen}")


def _columns(
    found: list[Guess], rows: pl.DataFrame, truth: pl.Series, task: str, time: str | None
) -> tuple[list[Guess], list[str]]:
    """Leave out the columns that reveal the target; return the guesses and a warning per such column."""
    seen = [guess.name for guess in features(found) if guess.settings["type"] != "array"]
    known = leaks.giveaways(rows.select(seen), truth, task)
    measure = {"binary": "ROC AUC", "multiclass": "skill", "regression": "R²"}[task]
    found = [
        replace(guess, left_out=f"it gives the target away: {measure} {known[guess.name]:.3f} by itself")
        if guess.name in known
        else guess
        for guess in found
    ]
    warnings = [
        f"'{name}' gives the target away: {measure} {score:.3f} by itself. It is left out; if it is known before the "
        "answer is, take the # away from its line"
        for name, score in known.items()
    ]
    return _with_a_feature(found, time), warnings


def _with_a_feature(found: list[Guess], time: str | None) -> list[Guess]:
    if any(features(found)):
        return found
    if time is None:
        reasons = "; ".join(f"{guess.name}: {guess.left_out}" for guess in found[:5])
        raise MeritError(f"no column is left to learn from ({reasons or 'the target is the only one'})")
    return [replace(g, settings={**g.settings, "feature": "time"}) if g.name == time else g for g in found]


def _window(rows: pl.DataFrame, time: str | None) -> dict[str, Any] | None:
    if time is None:
        return None
    days = plan.days(rows, time)
    return {"start": days.min(), "end": days.max()}


def _sections(
    columns: list[Guess], parts: plan.Split, truth: pl.Series, used: Rows, duplicates: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """Return the sections of the experiment, with values for the number of rows."""
    task = used.asked.task
    train, test = parts.rows["train"], parts.rows["test"]
    sliced = [g for g in features(columns) if g.settings["feature"] == "category" and g.values <= FEW]
    slices = [guess.name for guess in sorted(sliced, key=lambda guess: guess.values)[:SLICES]]
    mixed = {"leakage": {"overlap": 1.0}} if used.time and parts.settings["by"] != "time" else {}
    data = {"data": {**duplicates, **mixed}} if duplicates or mixed else {}
    return {
        "features": {"category": {"min_count": plan.least_count(train)}},
        "trainer": plan.trainer(train, task),
        "evaluate": {"slices": slices} | plan.evaluation(test),
        "gate": plan.gate(truth, test, task) | plan.times(columns) | data,
    }


def _write(files: list[Path], texts: list[str]) -> None:
    """Write both files; restore the previous content of both if one fails."""
    before = [file.read_bytes() if file.is_file() else None for file in files]
    try:
        for file, text in zip(files, texts, strict=True):
            artifacts.write_text(file, text)
    except BaseException:
        for file, old in zip(files, before, strict=True):
            if old is not None:
                file.write_bytes(old)
            else:
                file.unlink(missing_ok=True)
        raise
