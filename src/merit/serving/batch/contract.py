"""What a row must be before it is scored: the signature's types, and the ranges and values that the model was made for.

A quick pass over whole columns finds that nothing is wrong, which is so nearly always. Only then are rows looked at.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from merit import artifacts, safe_yaml
from merit.errors import MeritError, Refused
from merit.scoring import Package

TRUTHS = {"true": True, "false": False, "1": True, "0": False}
TIMES = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
LONGEST = 40
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Rule:
    """What one column that the model takes may hold."""

    name: str
    type: str
    nullable: bool
    shape: tuple[int, ...] = ()
    allowed: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Fault:
    """A rule that some rows break: which, and how it is told of a row; its value is shown before the words."""

    name: str
    rows: pl.Series
    words: str
    values: pl.Series | None = None

    def told(self) -> pl.DataFrame:
        """Return `row`, the places in the chunk, and `reason`."""
        places = self.rows.arg_true().cast(pl.Int64).alias("row")
        if self.values is None:
            return pl.DataFrame(
                {"row": places, "reason": pl.repeat(f"{self.name} {self.words}", len(places), eager=True)}
            )
        shown = self.values.filter(self.rows).cast(pl.String).fill_null("null").str.slice(0, LONGEST)
        told = pl.select(pl.format(f"{_escaped(self.name)} {{}} {_escaped(self.words)}", shown)).to_series()
        return pl.DataFrame({"row": places, "reason": told})


def _escaped(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


class Contract:
    """The rules of all columns that a model takes.

    Args:
        rules: one per column.
        is_text: whether the input knows no types, as CSV.
    """

    def __init__(self, rules: Iterable[Rule], *, is_text: bool = False) -> None:
        self.rules = list(rules)
        self.is_text = is_text

    def check(self, schema: Mapping[str, pl.DataType], where: str) -> None:
        """Hold the columns of an input against the rules, before any row is read.

        Raises:
            Refused: it lacks some, or has them in another type.
        """
        found = [told for rule in self.rules if (told := self._mistyped(rule, schema))]
        if found:
            raise Refused(f"{where}: breaks the model's contract: {'; '.join(found)}; nothing was scored")

    def _mistyped(self, rule: Rule, schema: Mapping[str, pl.DataType]) -> str:
        if rule.name not in schema:
            close = difflib.get_close_matches(rule.name, sorted(schema), n=1)
            return f"the column '{rule.name}' is missing" + (f", is it '{close[0]}'?" if close else "")
        dtype = schema[rule.name]
        if self.is_text and rule.type == "array":
            return f"the column '{rule.name}' is an array, which CSV can't hold; give Parquet"
        if dtype == pl.Null or _fits(rule, dtype) or (self.is_text and dtype == pl.String):
            return ""
        shape = f" {list(rule.shape)}" if rule.shape else ""
        return f"the column '{rule.name}' is {dtype}; the model takes {rule.type}{shape}"

    def typed(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Fault]]:
        """Return the columns that the model takes in its types, and each rule that is broken."""
        made: list[pl.Series] = []
        faults: list[Fault] = []
        for rule in self.rules:
            raw = rows[rule.name]
            column, unread = _cast(raw, rule)
            made.append(column)
            faults += _found(rule, raw, column, unread)
        return pl.DataFrame(made), faults


def of(package: Package, folder: Path, *, is_text: bool = False) -> Contract:
    """Return the contract of a package: its signature's, with the ranges of the lock that is packaged with it.

    Raises:
        MeritError: that lock can't be read.
    """
    path = folder / artifacts.PACKAGED_LOCK
    try:
        lock = safe_yaml.load(path.read_text(encoding="utf-8")) or {}
        columns = dict(lock.get("data", {}).get("columns", {}))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, OSError) as error:
        raise MeritError(f"{path}: can't be read ({error}); make the package again with 'merit run'") from error
    return Contract((_rule(each, columns.get(each["name"], {})) for each in package.inputs), is_text=is_text)


def _rule(column: Mapping[str, Any], declared: Mapping[str, Any]) -> Rule:
    allowed = declared.get("allowed")
    return Rule(
        column["name"],
        column["type"],
        column["nullable"],
        tuple(column.get("shape", ())),
        None if allowed is None else tuple(allowed),
        declared.get("min"),
        declared.get("max"),
    )


def reasons(faults: list[Fault]) -> pl.DataFrame:
    """Return `row`, the places in the chunk in order, and `reason`, all that is wrong with each."""
    told = pl.concat(fault.told() for fault in faults)
    return told.group_by("row", maintain_order=True).agg(pl.col("reason").str.join("; ")).sort("row")


def _fits(rule: Rule, dtype: pl.DataType) -> bool:
    """Say whether values of a type may be meant; each is looked at later."""
    if rule.type == "string":
        return dtype in (pl.String, pl.Categorical, pl.Enum)
    if rule.type in {"integer", "number"}:
        return dtype.is_numeric()
    if rule.type == "boolean":
        return dtype == pl.Boolean or dtype.is_numeric()
    if rule.type == "datetime":
        return dtype in (pl.Date, pl.Datetime, pl.String)
    return dtype in (pl.List, pl.Array)


def _cast(raw: pl.Series, rule: Rule) -> tuple[pl.Series, bool]:
    """Return a column in the model's type, what can't be so as null, and whether that may have happened."""
    if raw.dtype == pl.Null:
        return raw.cast(_empty(rule)), False
    return _CASTS[rule.type](raw, rule)


def _empty(rule: Rule) -> pl.DataType:
    types: dict[str, pl.DataType] = {
        "string": pl.String(), "integer": pl.Int64(), "number": pl.Float64(), "boolean": pl.Boolean(),
        "datetime": pl.Datetime("us"), "array": pl.Array(pl.Float64, rule.shape or (1,)),
    }  # fmt: skip
    return types[rule.type]


def _string(raw: pl.Series, _: Rule) -> tuple[pl.Series, bool]:
    return (raw if raw.dtype == pl.String else raw.cast(pl.String)), False


def _integer(raw: pl.Series, _: Rule) -> tuple[pl.Series, bool]:
    if raw.dtype.is_integer():
        return raw, False
    if raw.dtype == pl.String:
        return raw.str.strip_chars().cast(pl.Int64, strict=False), True
    values = raw.cast(pl.Float64).fill_nan(None)
    whole = values.cast(pl.Int64, strict=False)
    return whole.set(whole.cast(pl.Float64) != values, None), True


def _number(raw: pl.Series, _: Rule) -> tuple[pl.Series, bool]:
    if raw.dtype == pl.String:
        return raw.str.strip_chars().cast(pl.Float64, strict=False), True
    return raw.cast(pl.Float64), False


def _boolean(raw: pl.Series, _: Rule) -> tuple[pl.Series, bool]:
    if raw.dtype == pl.Boolean:
        return raw, False
    words = raw.cast(pl.Float64).cast(pl.Int64, strict=False) if raw.dtype != pl.String else raw
    text = words.cast(pl.String).str.strip_chars().str.to_lowercase()
    made = text.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    if raw.dtype != pl.String:
        made = made.set(raw.cast(pl.Float64) != words.cast(pl.Float64), None)
    return made, True


def _datetime(raw: pl.Series, _: Rule) -> tuple[pl.Series, bool]:
    if raw.dtype == pl.String:
        text = pl.lit(raw.str.strip_chars())
        tried = [text.str.to_datetime(form, time_unit="us", strict=False) for form in TIMES]
        return pl.select(pl.coalesce(tried)).to_series(), True
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return raw.cast(pl.Datetime("us")), False


def _array(raw: pl.Series, rule: Rule) -> tuple[pl.Series, bool]:
    kind = pl.Array(pl.Float64, rule.shape)
    if raw.dtype == kind:
        return raw, False
    try:
        return raw.cast(kind), False
    except pl.exceptions.PolarsError:  # one of another shape spoils the column: look at each
        return pl.Series(raw.name, [_one(value, kind) for value in raw.to_list()], dtype=kind), True


def _one(value: Any, kind: pl.Array) -> Any:
    try:
        return pl.Series([value], dtype=kind).to_list()[0]
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return None


_CASTS: dict[str, Callable[[pl.Series, Rule], tuple[pl.Series, bool]]] = {
    "string": _string, "integer": _integer, "number": _number,
    "boolean": _boolean, "datetime": _datetime, "array": _array,
}  # fmt: skip


def _found(rule: Rule, raw: pl.Series, column: pl.Series, unread: bool) -> list[Fault]:
    """Return what is broken of one rule; nothing is looked at twice where all is well."""
    name = rule.name
    found: list[Fault] = []
    absent = _absent(raw)
    if unread and column.null_count() > (absent.sum() or 0):
        a = "an" if rule.type[0] in "aeiou" else "a"
        words = f"is not {a} {rule.type}" + (f" of the shape {list(rule.shape)}" if rule.shape else "")
        found.append(Fault(name, column.is_null() & ~absent, words, None if rule.shape else raw))
    if not rule.nullable and absent.any():
        found.append(Fault(name, absent, "is missing"))
    if rule.type == "array":
        return found + _elements(rule, column)
    if column.dtype == pl.Float64 and column.is_infinite().any():
        found.append(Fault(name, column.is_infinite().fill_null(False), "is not finite", raw))
    if rule.low is not None and _below(column.min(), rule.low):
        found.append(Fault(name, (column < rule.low).fill_null(False), f"is below {rule.low:g}", raw))
    if rule.high is not None and _below(rule.high, column.max()):
        above = (column > rule.high) & ~_absent(column)  # NaN is above all, in Polars
        found.append(Fault(name, above.fill_null(False), f"is above {rule.high:g}", raw))
    if rule.allowed is not None:
        other = ~column.is_in(list(rule.allowed)) & ~_absent(column)
        if other.any():
            found.append(Fault(name, other.fill_null(False), f"is none of {_listed(rule.allowed)}", raw))
    return found


def _below(one: Any, other: Any) -> bool:
    """Say whether one bound is below another; what is not there is not."""
    return one is not None and other is not None and bool(one < other)


def _absent(values: pl.Series) -> pl.Series:
    """Return which values are missing: null, or NaN."""
    nothing = values.is_null()
    return nothing | values.is_nan().fill_null(False) if values.dtype.is_float() else nothing


def _elements(rule: Rule, column: pl.Series) -> list[Fault]:
    import numpy as np

    there = column.is_not_null()
    if not there.any():
        return []
    values = column.drop_nulls().to_numpy().reshape(int(there.sum()), -1)
    low, high = (-np.inf if rule.low is None else rule.low), (np.inf if rule.high is None else rule.high)
    found = []
    for wrong, words in (
        (~np.isfinite(values), "has elements that are missing or not finite"),
        ((values < low) | (values > high), f"has elements outside {low:g} to {high:g}"),
    ):
        rows = np.zeros(len(column), dtype=bool)
        rows[there.to_numpy()] = wrong.any(axis=1)
        if rows.any():
            found.append(Fault(rule.name, pl.Series(rows), words))
    return found


def _listed(values: tuple[Any, ...]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return f"{shown} and {len(values) - 10} more" if len(values) > 10 else shown
