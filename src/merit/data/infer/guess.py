"""What each column seems to be: its type, what the model can make of it, or why it is left out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from merit.config.schema.base import OUTPUT
from merit.config.schema.column import can_be_served
from merit.entities import called_recurring

FEW = 20
"""Values that a person can look through; as many may be codes of classes."""
LONG = 60
"""Characters from which text is prose rather than the name of something."""
SAMPLE = 20_000


@dataclass(frozen=True)
class Guess:
    """One column: its settings in conf/data, what was seen of it, and why it is left out, if it is."""

    name: str
    settings: dict[str, Any]
    seen: str
    left_out: str | None = None
    values: int = 0
    """Distinct values, where they were counted."""


def guesses(table: pl.DataFrame, names: list[str], time: str | None) -> list[Guess]:
    """Return a guess for each of the columns named, from the rows that will be used."""
    return [_guess(table[name], is_time=name == time) for name in names]


def _guess(column: pl.Series, *, is_time: bool) -> Guess:
    name, dtype = column.name, column.dtype
    if reason := _unusable_name(name):
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
        (dtype == pl.Array, _of_array),
    ):
        if fits:
            made = guess(name, known)
            break
    else:
        return Guess(name, {}, "", f"{_words_of(dtype)} are no feature; make numbers, words or dates of them")
    if is_time:
        return Guess(name, {"type": "datetime", **missing}, made.seen)
    return Guess(name, made.settings | missing, made.seen + _told(missing, column), made.left_out, made.values)


def _unusable_name(name: str) -> str | None:
    """Return why the model can't have a column of this name."""
    if not name.strip():
        return "it has no name; give it one"
    if name.startswith("/") or name == OUTPUT:
        return "the model's graph uses that name; rename the column"
    if not can_be_served(name):
        return "its name holds a quote, a backslash or a line break; rename the column"
    if name == "_target_":
        return "conf/ uses that name; rename the column"
    return None


def _missing(nulls: int, rows: int) -> dict[str, float]:
    """Return the share of missing values to allow: what was seen, and half as much again."""
    if nulls == 0:
        return {}
    return {"missing": min(1.0, round(1.5 * nulls / rows + 0.0151, 2))}


def _told(missing: dict[str, float], column: pl.Series) -> str:
    return f"; {column.null_count() / len(column):.2%} missing" if missing else ""


def _words_of(dtype: pl.DataType) -> str:
    kinds = {pl.Time: "times without a day", pl.Duration: "durations", pl.List: "lists", pl.Struct: "records"}
    return next((words for kind, words in kinds.items() if dtype == kind), f"values of type {dtype}")


def _of_boolean(name: str, known: pl.Series) -> Guess:
    settings = {"type": "boolean", "feature": "number"}
    share = float(known.mean() or 0)  # type: ignore[arg-type]  # the mean of truths is a number
    if known.n_unique() == 1:
        return Guess(name, settings, "", f"every row has the same value, {str(known[0]).lower()}")
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
        return Guess(name, settings, "", f"every row has the same value, {known[0]}")
    if whole and (sign := _identifies(name, known, values, low, high)):
        return Guess(name, settings, "", f"it seems to be an identifier: {sign}")
    if whole and called_recurring(name):
        return _of_codes(name, known, values)
    seen = f"{'whole numbers' if whole else 'numbers'} from {_short(low)} to {_short(high)}"
    if values <= FEW and whole:
        seen = f"{_listed(known, values)}; if they are codes: {{type: integer, feature: category}}"
    elif whole and values == len(known):
        seen += ", each once; leave it out if it only names the row"
    return Guess(name, settings, seen, values=values)


def _of_codes(name: str, known: pl.Series, values: int) -> Guess:
    """Guess whole numbers whose name says that they are codes: they are no amounts."""
    settings = {"type": "integer", "feature": "category"}
    if values > 0.5 * len(known) and values > FEW:
        return Guess(name, settings, "", f"{values:,} codes in {len(known):,} rows are too many to learn any")
    return Guess(name, settings, f"codes: {_listed(known, values)}", values=values)


def _identifies(name: str, known: pl.Series, values: int, low: float, high: float) -> str | None:
    """Return the sign by which whole numbers are an identifier: each stands once, and they count or only name."""
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
        return Guess(name, settings, "", f"every row has the same value, {known[0]}")
    return Guess(name, settings, f"from {known.min()!s} to {known.max()!s}", values=known.n_unique())


def _of_array(name: str, known: pl.Series) -> Guess:
    shape = list(getattr(known.dtype, "shape", ()))
    if not getattr(known.dtype, "inner", pl.Null()).is_numeric() and "Array" not in str(
        getattr(known.dtype, "inner", "")
    ):
        return Guess(name, {}, "", "arrays of other things than numbers are no feature")
    return Guess(name, {"type": "array", "shape": shape, "feature": "array"}, "arrays of numbers")


def _of_text(name: str, known: pl.Series) -> Guess:
    known = known.cast(pl.String)
    settings = {"type": "string", "feature": "category"}
    values, rows = known.n_unique(), len(known)
    if values == 1:
        return Guess(name, settings, "", f"every row has the same value, {_word(known[0])}")
    some = known.sample(min(rows, SAMPLE), seed=0)
    if values > FEW and (kind := _numbers_as_text(some)):
        return Guess(name, settings, "", kind)
    if values > 0.5 * rows and float(some.str.len_chars().mean() or 0) > LONG:  # type: ignore[arg-type]
        return Guess(name, settings, "", f"it is prose: {values:,} texts, nearly all different")
    if values > 0.9 * rows and rows >= FEW:
        return Guess(name, settings, "", f"it seems to be an identifier: {values:,} values in {rows:,} rows")
    if values > 0.5 * rows and values > FEW:
        return Guess(name, settings, "", f"{values:,} values in {rows:,} rows are too many to learn any")
    seen = _listed(known, values)
    if values <= FEW and (kind := _numbers_as_text(some)):
        seen += f"; {kind}"
    return Guess(name, settings, seen, values=values)


def _numbers_as_text(some: pl.Series) -> str | None:
    """Return what keeps numbers from being read as numbers."""
    if some.str.contains(r"^[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+$").mean() == 1 or (
        some.str.contains(r"^[+-]?[\d.]+(,\d+)?$").all() and some.str.contains(",", literal=True).any()
    ):
        return "these are numbers with a decimal comma, read as text: write 1.5, not 1,5"
    bare = some.str.replace_all(r"[\s€$£¥%,]", "")
    if bare.cast(pl.Float64, strict=False).null_count() == 0 and (bare != some).any():
        return f"these are numbers with other characters, read as text: write {bare[0]}, not {_word(some[0])}"
    return None


def _listed(known: pl.Series, values: int) -> str:
    """Return how many values there are, and all of a few, or the usual ones of many."""
    if values <= 8:
        return f"{values} values: {', '.join(_word(value) for value in known.unique().sort())}"
    usual = known.value_counts(sort=True).head(3).to_series()
    return f"{values:,} values, mostly {', '.join(_word(value) for value in usual)}"


def _word(value: Any) -> str:
    """Return a value as a comment can hold it: on one line, and short."""
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return (text if len(text) <= 24 else f"{text[:23]}…") or "''"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e12 else f"{number:.6g}"


def features(found: list[Guess]) -> Iterator[Guess]:
    """Yield the columns that the model sees."""
    return (guess for guess in found if guess.left_out is None and "feature" in guess.settings)
