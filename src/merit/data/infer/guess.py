"""Guesses each column's type and feature kind, or the reason to leave it out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from merit.config.schema.base import OUTPUT_NAME
from merit.config.schema.column import is_servable_name
from merit.data.entities import is_recurring_id
from merit.data.infer.files import IMAGE_MAGICS
from merit.data.infer.texts import IMAGES_ADVICE, find_kind
from merit.data.infer.written import ParsedColumn

MAX_REVIEWABLE_VALUES = 20
"""Maximum distinct values that a person can review, and up to which whole numbers may be class codes."""
MAX_SAMPLE_ROWS = 20_000
TIME_NAME_PATTERN = r"(?i)(time|date|stamp|epoch|created|updated|modified|datum|zeit|unix|(^|_)(ts|dt|at|day)$)"
TIME_NAME_PATTERN = r"(?i)(time|date|stamp|epoch|created|updated|modified|datum|zeit|unix|(^|_)(ts|dt|at|day)$)"
UNIX_SECONDS_RANGE = (631_152_000, 2_208_988_800)
"""Range of Unix timestamps in seconds, from 1990 to 2039."""
SPREADSHEET_DAYS_RANGE = (32_874, 51_136)
"""Range of spreadsheet day numbers for the same years."""
CONSTANT_REASON = "every row has the same value"


@dataclass(frozen=True)
class ColumnGuess:
    """The guess for one column.

    Attributes:
        name: the column's name.
        settings: its settings in conf/data.
        description: a description of its values, which becomes a comment in conf/data.
        left_out: the reason to leave the column out; None if it is used.
    """

    name: str
    settings: dict[str, Any]
    description: str
    left_out: str | None = None
    values: int = 0
    """Number of distinct values, 0 if they were not counted."""


def guess_columns(rows: pl.DataFrame, columns: Iterable[ParsedColumn], time: str | None) -> list[ColumnGuess]:
    """Return a guess for each of the given columns, from the rows that will be used."""
    return [
        _add_notation(_guess_column(rows[column.name], column.problem, is_time=column.name == time), column)
        for column in columns
    ]


def _add_notation(guess: ColumnGuess, column: ParsedColumn) -> ColumnGuess:
    """Add the settings that conf/data must declare for the notation of the cells."""
    if not guess.settings and column.problem is None:
        return guess
    return replace(
        guess,
        settings=guess.settings | column.settings,
        description="; ".join(filter(None, [guess.description, column.description])),
    )


def _guess_column(column: pl.Series, problem: str | None, *, is_time: bool) -> ColumnGuess:
    name, dtype = column.name, column.dtype
    if reason := _find_name_fault(name) or problem:
        return ColumnGuess(name, {}, "", reason)
    if dtype.is_float():
        column = column.fill_nan(None)
    known = column.drop_nulls()
    missing = _allow_missing(column.null_count(), len(column))
    if known.is_empty():
        return ColumnGuess(name, {}, "", "no row has a value")
    for applies, guess in (
        (is_time, _guess_time),
        (dtype == pl.Boolean, _guess_boolean),
        (dtype.is_numeric(), _guess_number),
        (dtype in (pl.Date, pl.Datetime), _guess_time),
        (dtype in (pl.String, pl.Categorical, pl.Enum), _guess_text),
        (dtype in (pl.Array, pl.List), _guess_array),
    ):
        if applies:
            result = guess(name, known)
            break
    else:
        return ColumnGuess(name, {}, "", _describe_unsupported(known))
    if is_time:
        return ColumnGuess(name, {"type": "datetime", **missing}, result.description)
    if missing and result.settings.get("type") == "array":
        rows = f"{column.null_count():,} rows have no array"
        return replace(
            result, left_out=result.left_out or f"{rows}, and none can be missing: leave such rows out of the table"
        )
    left_out = result.left_out
    if missing and left_out:
        left_out = left_out.replace(CONSTANT_REASON, "all cells that hold something hold the same")
    return ColumnGuess(
        name,
        result.settings | missing,
        result.description + _describe_missing(missing, column),
        left_out,
        result.values,
    )


def _find_name_fault(name: str) -> str | None:
    """Return why the model can't have a column with this name; None if it can."""
    if not name.strip():
        return "it has no name; give it one"
    if name.startswith("/") or name == OUTPUT_NAME:
        return "the model's graph uses that name; rename the column"
    if not is_servable_name(name):
        return "its name holds a quote, a backslash or a line break; rename the column"
    if name == "_target_":
        return "conf/ uses that name; rename the column"
    return None


def _allow_missing(nulls: int, rows: int) -> dict[str, float]:
    """Return the share of missing values to allow: about 1.5 times the observed share, empty without any."""
    if nulls == 0:
        return {}
    return {"missing": min(1.0, round(1.5 * nulls / rows + 0.0151, 2))}


def _describe_missing(missing: dict[str, float], column: pl.Series) -> str:
    return f"; {column.null_count() / len(column):.2%} missing" if missing else ""


def _describe_unsupported(known: pl.Series) -> str:
    """Return the reason to leave out a column of an unsupported type, with advice."""
    first = known[0].get("bytes") if isinstance(known[0], dict) else known[0]
    if isinstance(first, bytes) and first.startswith(tuple(IMAGE_MAGICS)):
        return f"images as bytes, {IMAGES_ADVICE}"
    return f"{_describe_type(known.dtype)} are no feature; make numbers, words or dates of them"


def _describe_type(dtype: pl.DataType) -> str:
    kinds = {
        pl.Time: "times without a day",
        pl.Duration: "durations",
        pl.List: "lists",
        pl.Struct: "records",
        pl.Binary: "bytes",
    }
    return next((description for kind, description in kinds.items() if dtype == kind), f"values of type {dtype}")


def _guess_boolean(name: str, values: pl.Series) -> ColumnGuess:
    settings = {"type": "boolean", "feature": "number"}
    share = float(values.mean() or 0)  # type: ignore[arg-type]  # the mean of truths is a number
    if values.n_unique() == 1:
        return ColumnGuess(name, settings, "", f"{CONSTANT_REASON}, {str(values[0]).lower()}")
    return ColumnGuess(name, settings, f"true in {share:.1%}", values=2)


def _guess_number(name: str, known: pl.Series) -> ColumnGuess:
    settings: dict[str, Any] = {"type": "number", "feature": "number"}
    if known.dtype.is_float() and (infinite_count := int(known.is_infinite().sum())):
        return ColumnGuess(name, {}, "", f"{infinite_count:,} values are infinite; make them missing")
    values = known.n_unique()
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]  # numbers
    if low >= 0:
        settings["min"] = 0
    is_whole = known.dtype.is_integer()
    if values == 1:
        return ColumnGuess(name, settings, "", f"{CONSTANT_REASON}, {known[0]}")
    if is_whole and (time_reason := _find_time_unit(name, low, high)):
        return ColumnGuess(name, settings, "", time_reason)
    if is_whole and (id_reason := _find_id_evidence(name, known, values, low, high)):
        return ColumnGuess(name, settings, "", f"it seems to be an identifier: {id_reason}")
    if is_whole and is_recurring_id(name):
        return _guess_codes(name, known, values)
    description = f"{'whole numbers' if is_whole else 'numbers'} from {_format_number(low)} to {_format_number(high)}"
    if values <= MAX_REVIEWABLE_VALUES and is_whole:
        description = f"{_list_values(known, values)}; if they are codes: {{type: integer, feature: category}}"
    elif is_whole and values == len(known):
        description += ", each once; leave it out if it only names the row"
    return ColumnGuess(name, settings, description, values=values)


def _guess_codes(name: str, known: pl.Series, values: int) -> ColumnGuess:
    """Guess whole numbers that are codes by the column's name, not amounts."""
    settings = {"type": "integer", "feature": "category"}
    if values > 0.5 * len(known) and values > MAX_REVIEWABLE_VALUES:
        return ColumnGuess(name, settings, "", f"{values:,} codes in {len(known):,} rows are too many to learn any")
    return ColumnGuess(name, settings, f"codes: {_list_values(known, values)}", values=values)


def _find_time_unit(name: str, low: float, high: float) -> str | None:
    """Return the kind of time that whole numbers count, with advice, judged by name and range; None if none."""
    if not re.search(TIME_NAME_PATTERN, name):
        return None
    for unit, length in {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6}.items():
        if UNIX_SECONDS_RANGE[0] * length <= low <= high <= UNIX_SECONDS_RANGE[1] * length:
            first = datetime.fromtimestamp(low / length, UTC)
            return f"{unit} since 1970, it seems (from {first:%Y-%m-%d} on): write them as {first:%Y-%m-%dT%H:%M:%S}"
    if SPREADSHEET_DAYS_RANGE[0] <= low <= high <= SPREADSHEET_DAYS_RANGE[1]:
        first = datetime(1899, 12, 30) + timedelta(days=low)
        return f"days as a spreadsheet counts them, it seems (from {first:%Y-%m-%d} on): write them so"
    return None


def _find_id_evidence(name: str, known: pl.Series, values: int, low: float, high: float) -> str | None:
    """Return why whole numbers seem to be an identifier, such as consecutive unique values; None if they don't."""
    rows = len(known)
    if values < 0.98 * rows or rows < MAX_REVIEWABLE_VALUES:
        return None
    if high - low < 1.1 * rows or (values == rows and (known.is_sorted() or known.is_sorted(descending=True))):
        return "nearly every row has a number of its own, and they run on"
    if _is_id_name(name):
        return "nearly every row has a number of its own, and so it is called"
    if low >= 10_000 and len(f"{low:.0f}") == len(f"{high:.0f}"):
        return f"nearly every row has a number of its own, all of {len(f'{low:.0f}')} digits"
    return None


def _is_id_name(name: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.search(r"(^|[^a-z])(id|uuid|guid|key|index|nr|number)$|^(id|index|unnamed)([^a-z]|$)", words) is not None


def _guess_time(name: str, known: pl.Series) -> ColumnGuess:
    settings = {"type": "datetime", "feature": "time"}
    if known.n_unique() == 1:
        return ColumnGuess(name, settings, "", f"{CONSTANT_REASON}, {known[0]}")
    return ColumnGuess(name, settings, f"from {known.min()!s} to {known.max()!s}", values=known.n_unique())


def _guess_array(name: str, known: pl.Series) -> ColumnGuess:
    shape, kind = _find_shape(known)
    if not kind.is_numeric():
        return ColumnGuess(name, {}, "", "lists of other things than numbers are no feature")
    if shape is None:
        return ColumnGuess(name, {}, "", "lists of different lengths are no feature: give all the same length")
    settings = {"type": "array", "shape": shape, "feature": "array"}
    if len(shape) not in {2, 3} or find_side(shape) < 2:
        size = "x".join(map(str, shape))
        return ColumnGuess(
            name, settings, "", f"no network of merit takes arrays of {size}: make a column of each number"
        )
    return ColumnGuess(name, settings, f"arrays of numbers{'; channels may be first or last' * (len(shape) == 3)}")


def find_side(shape: list[int]) -> int:
    """Return the shorter of an array's height and width; the channels, if any, are assumed to be the smallest size."""
    return sorted(shape)[-2]


def _find_shape(known: pl.Series) -> tuple[list[int] | None, pl.DataType]:
    """Return the common shape of a column's arrays, None if they differ, and the type of their elements."""
    shape: list[int] = []
    is_even = True
    while isinstance(known.dtype, pl.List | pl.Array):
        lengths = known.list.len() if isinstance(known.dtype, pl.List) else known.arr.len()
        is_even = is_even and lengths.n_unique() == 1 and not known.null_count()
        shape.append(int(lengths[0] or 0))
        if not isinstance(inner := known.dtype.inner, pl.List | pl.Array):
            return shape if is_even else None, pl.Series(dtype=inner).dtype
        known = known.explode()
    return None, known.dtype


def _guess_text(name: str, known: pl.Series) -> ColumnGuess:
    known = known.cast(pl.String)
    settings = {"type": "string", "feature": "category"}
    values, rows = known.n_unique(), len(known)
    if values == 1:
        return ColumnGuess(name, settings, "", f"{CONSTANT_REASON}, {_shorten_value(known[0])}")
    sample = known.sample(min(rows, MAX_SAMPLE_ROWS), seed=0)
    if values > MAX_REVIEWABLE_VALUES and (reason := find_kind(sample)):
        return ColumnGuess(name, settings, "", reason)
    if values > 0.9 * rows and rows >= MAX_REVIEWABLE_VALUES:
        return ColumnGuess(name, settings, "", f"it seems to be an identifier: {values:,} values in {rows:,} rows")
    if values > 0.5 * rows and values > MAX_REVIEWABLE_VALUES:
        return ColumnGuess(name, settings, "", f"{values:,} values in {rows:,} rows are too many to learn any")
    return ColumnGuess(name, settings, _list_values(known, values), values=values)


def _list_values(known: pl.Series, values: int) -> str:
    """Return the number of values, with all values if they are few, else the most frequent ones."""
    if values <= 8:
        return f"{values} values: {', '.join(_shorten_value(value) for value in known.unique().sort())}"
    frequent = known.value_counts(sort=True).head(3).to_series()
    return f"{values:,} values, mostly {', '.join(_shorten_value(value) for value in frequent)}"


def _shorten_value(value: Any) -> str:
    """Return a value for a comment: on one line, and short."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    return (text if len(text) <= 24 else f"{text[:23]}…") or "''"


def _format_number(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e12 else f"{number:.6g}"


def select_features(guesses_made: Iterable[ColumnGuess]) -> Iterator[ColumnGuess]:
    """Yield the guesses of the columns that are features of the model."""
    return (guess for guess in guesses_made if guess.left_out is None and "feature" in guess.settings)
