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
from merit.data.infer.files import IMAGES
from merit.data.infer.texts import NOT_OPENED, kind_of
from merit.data.infer.written import Written

FEW = 20
"""Maximum distinct values that a person can review, and up to which whole numbers may be class codes."""
SAMPLE = 20_000
OF_TIME = r"(?i)(time|date|stamp|epoch|created|updated|modified|datum|zeit|unix|(^|_)(ts|dt|at|day)$)"
OF_TIME = r"(?i)(time|date|stamp|epoch|created|updated|modified|datum|zeit|unix|(^|_)(ts|dt|at|day)$)"
SINCE = (631_152_000, 2_208_988_800)
"""Range of Unix timestamps in seconds, from 1990 to 2039."""
SHEET = (32_874, 51_136)
"""Range of spreadsheet day numbers for the same years."""
SAME = "every row has the same value"


@dataclass(frozen=True)
class Guess:
    """The guess for one column.

    Attributes:
        name: the column's name.
        settings: its settings in conf/data.
        seen: a description of its values, which becomes a comment in conf/data.
        left_out: the reason to leave the column out; None if it is used.
    """

    name: str
    settings: dict[str, Any]
    seen: str
    left_out: str | None = None
    values: int = 0
    """Number of distinct values, 0 if they were not counted."""


def guesses(rows: pl.DataFrame, columns: Iterable[Written], time: str | None) -> list[Guess]:
    """Return a guess for each of the given columns, from the rows that will be used."""
    return [_written_as(_guess(rows[each.name], each.problem, is_time=each.name == time), each) for each in columns]


def _written_as(guess: Guess, column: Written) -> Guess:
    """Add the settings that conf/data must declare for the notation of the cells."""
    if not guess.settings and column.problem is None:
        return guess
    return replace(
        guess,
        settings=guess.settings | column.settings,
        seen="; ".join(filter(None, [guess.seen, column.seen])),
    )


def _guess(column: pl.Series, problem: str | None, *, is_time: bool) -> Guess:
    name, dtype = column.name, column.dtype
    if reason := _unusable_name(name) or problem:
        return Guess(name, {}, "", reason)
    if dtype.is_float():
        column = column.fill_nan(None)
    known = column.drop_nulls()
    missing = _missing(column.null_count(), len(column))
    if known.is_empty():
        return Guess(name, {}, "", "no row has a value")
    for fits, guess in (
        (is_time, _of_time),
        (dtype == pl.Boolean, _of_boolean),
        (dtype.is_numeric(), _of_number),
        (dtype in (pl.Date, pl.Datetime), _of_time),
        (dtype in (pl.String, pl.Categorical, pl.Enum), _of_text),
        (dtype in (pl.Array, pl.List), _of_array),
    ):
        if fits:
            made = guess(name, known)
            break
    else:
        return Guess(name, {}, "", _unsupported(known))
    if is_time:
        return Guess(name, {"type": "datetime", **missing}, made.seen)
    if missing and made.settings.get("type") == "array":
        rows = f"{column.null_count():,} rows have no array"
        return replace(
            made, left_out=made.left_out or f"{rows}, and none can be missing: leave such rows out of the table"
        )
    left_out = made.left_out
    if missing and left_out:
        left_out = left_out.replace(SAME, "all cells that hold something hold the same")
    return Guess(name, made.settings | missing, made.seen + _told(missing, column), left_out, made.values)


def _unusable_name(name: str) -> str | None:
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


def _missing(nulls: int, rows: int) -> dict[str, float]:
    """Return the share of missing values to allow: about 1.5 times the observed share, empty without any."""
    if nulls == 0:
        return {}
    return {"missing": min(1.0, round(1.5 * nulls / rows + 0.0151, 2))}


def _told(missing: dict[str, float], column: pl.Series) -> str:
    return f"; {column.null_count() / len(column):.2%} missing" if missing else ""


def _unsupported(known: pl.Series) -> str:
    """Return the reason to leave out a column of an unsupported type, with advice."""
    first = known[0].get("bytes") if isinstance(known[0], dict) else known[0]
    if isinstance(first, bytes) and first.startswith(tuple(IMAGES)):
        return f"images as bytes, {NOT_OPENED}"
    return f"{_words_of(known.dtype)} are no feature; make numbers, words or dates of them"


def _words_of(dtype: pl.DataType) -> str:
    kinds = {
        pl.Time: "times without a day",
        pl.Duration: "durations",
        pl.List: "lists",
        pl.Struct: "records",
        pl.Binary: "bytes",
    }
    return next((words for kind, words in kinds.items() if dtype == kind), f"values of type {dtype}")


def _of_boolean(name: str, known: pl.Series) -> Guess:
    settings = {"type": "boolean", "feature": "number"}
    share = float(known.mean() or 0)  # type: ignore[arg-type]  # the mean of truths is a number
    if known.n_unique() == 1:
        return Guess(name, settings, "", f"{SAME}, {str(known[0]).lower()}")
    return Guess(name, settings, f"true in {share:.1%}", values=2)


def _of_number(name: str, known: pl.Series) -> Guess:
    settings: dict[str, Any] = {"type": "number", "feature": "number"}
    if known.dtype.is_float() and (odd := int(known.is_infinite().sum())):
        return Guess(name, {}, "", f"{odd:,} values are infinite; make them missing")
    values = known.n_unique()
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]  # numbers
    if low >= 0:
        settings["min"] = 0
    whole = known.dtype.is_integer()
    if values == 1:
        return Guess(name, settings, "", f"{SAME}, {known[0]}")
    if whole and (moments := _moments(name, low, high)):
        return Guess(name, settings, "", moments)
    if whole and (sign := _identifies(name, known, values, low, high)):
        return Guess(name, settings, "", f"it seems to be an identifier: {sign}")
    if whole and is_recurring_id(name):
        return _of_codes(name, known, values)
    seen = f"{'whole numbers' if whole else 'numbers'} from {_short(low)} to {_short(high)}"
    if values <= FEW and whole:
        seen = f"{_listed(known, values)}; if they are codes: {{type: integer, feature: category}}"
    elif whole and values == len(known):
        seen += ", each once; leave it out if it only names the row"
    return Guess(name, settings, seen, values=values)


def _of_codes(name: str, known: pl.Series, values: int) -> Guess:
    """Guess whole numbers that are codes by the column's name, not amounts."""
    settings = {"type": "integer", "feature": "category"}
    if values > 0.5 * len(known) and values > FEW:
        return Guess(name, settings, "", f"{values:,} codes in {len(known):,} rows are too many to learn any")
    return Guess(name, settings, f"codes: {_listed(known, values)}", values=values)


def _moments(name: str, low: float, high: float) -> str | None:
    """Return the kind of time that whole numbers count, with advice, judged by name and range; None if none."""
    if not re.search(OF_TIME, name):
        return None
    for unit, length in {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6}.items():
        if SINCE[0] * length <= low <= high <= SINCE[1] * length:
            first = datetime.fromtimestamp(low / length, UTC)
            return f"{unit} since 1970, it seems (from {first:%Y-%m-%d} on): write them as {first:%Y-%m-%dT%H:%M:%S}"
    if SHEET[0] <= low <= high <= SHEET[1]:
        first = datetime(1899, 12, 30) + timedelta(days=low)
        return f"days as a spreadsheet counts them, it seems (from {first:%Y-%m-%d} on): write them so"
    return None


def _identifies(name: str, known: pl.Series, values: int, low: float, high: float) -> str | None:
    """Return why whole numbers seem to be an identifier, such as consecutive unique values; None if they don't."""
    rows = len(known)
    if values < 0.98 * rows or rows < FEW:
        return None
    if high - low < 1.1 * rows or (values == rows and (known.is_sorted() or known.is_sorted(descending=True))):
        return "nearly every row has a number of its own, and they run on"
    if _names_rows(name):
        return "nearly every row has a number of its own, and so it is called"
    if low >= 10_000 and len(f"{low:.0f}") == len(f"{high:.0f}"):
        return f"nearly every row has a number of its own, all of {len(f'{low:.0f}')} digits"
    return None


def _names_rows(name: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.search(r"(^|[^a-z])(id|uuid|guid|key|index|nr|number)$|^(id|index|unnamed)([^a-z]|$)", words) is not None


def _of_time(name: str, known: pl.Series) -> Guess:
    settings = {"type": "datetime", "feature": "time"}
    if known.n_unique() == 1:
        return Guess(name, settings, "", f"{SAME}, {known[0]}")
    return Guess(name, settings, f"from {known.min()!s} to {known.max()!s}", values=known.n_unique())


def _of_array(name: str, known: pl.Series) -> Guess:
    shape, kind = _shape(known)
    if not kind.is_numeric():
        return Guess(name, {}, "", "lists of other things than numbers are no feature")
    if shape is None:
        return Guess(name, {}, "", "lists of different lengths are no feature: give all the same length")
    settings = {"type": "array", "shape": shape, "feature": "array"}
    if len(shape) not in {2, 3} or side(shape) < 2:
        size = "x".join(map(str, shape))
        return Guess(name, settings, "", f"no network of merit takes arrays of {size}: make a column of each number")
    return Guess(name, settings, f"arrays of numbers{'; channels may be first or last' * (len(shape) == 3)}")


def side(shape: list[int]) -> int:
    """Return the shorter of an array's height and width; the channels, if any, are assumed to be the smallest size."""
    return sorted(shape)[-2]


def _shape(known: pl.Series) -> tuple[list[int] | None, pl.DataType]:
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


def _of_text(name: str, known: pl.Series) -> Guess:
    known = known.cast(pl.String)
    settings = {"type": "string", "feature": "category"}
    values, rows = known.n_unique(), len(known)
    if values == 1:
        return Guess(name, settings, "", f"{SAME}, {_word(known[0])}")
    some = known.sample(min(rows, SAMPLE), seed=0)
    if values > FEW and (reason := kind_of(some)):
        return Guess(name, settings, "", reason)
    if values > 0.9 * rows and rows >= FEW:
        return Guess(name, settings, "", f"it seems to be an identifier: {values:,} values in {rows:,} rows")
    if values > 0.5 * rows and values > FEW:
        return Guess(name, settings, "", f"{values:,} values in {rows:,} rows are too many to learn any")
    return Guess(name, settings, _listed(known, values), values=values)


def _listed(known: pl.Series, values: int) -> str:
    """Return the number of values, with all values if they are few, else the most frequent ones."""
    if values <= 8:
        return f"{values} values: {', '.join(_word(value) for value in known.unique().sort())}"
    usual = known.value_counts(sort=True).head(3).to_series()
    return f"{values:,} values, mostly {', '.join(_word(value) for value in usual)}"


def _word(value: Any) -> str:
    """Return a value for a comment: on one line, and short."""
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return (text if len(text) <= 24 else f"{text[:23]}…") or "''"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e12 else f"{number:.6g}"


def features(found: Iterable[Guess]) -> Iterator[Guess]:
    """Yield the guesses of the columns that are features of the model."""
    return (guess for guess in found if guess.left_out is None and "feature" in guess.settings)
