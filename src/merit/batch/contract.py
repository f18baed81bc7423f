"""Validates rows before scoring: the types of the signature, and the ranges and values that the lock declares.

A fast pass over whole columns comes first, because almost all chunks are valid. Single rows are examined only where
that pass finds a problem.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from merit import artifacts, safe_yaml
from merit.errors import MeritError, Refused
from merit.reading import advice, cells
from merit.reading.declaration import KEYS, Declaration, declared
from merit.scoring.package import Package

LONGEST = 40
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class Rule:
    """The values that one input column of the model may hold."""

    name: str
    type: str
    nullable: bool
    shape: tuple[int, ...] = ()
    allowed: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def declaration(self) -> Declaration:
        """The declaration by which its cells are read, the same as in training."""
        return declared(self.name, {**self.reading, "type": self.type, "shape": self.shape})


@dataclass(frozen=True)
class Fault:
    """A rule that some rows violate.

    Attributes:
        name: the column.
        rows: a mask over the chunk, true where the rule is violated.
        words: the end of the message about a row, such as "is below 0".
        values: the values to show in that message; None shows none.
    """

    name: str
    rows: pl.Series
    words: str
    values: pl.Series | None = None

    def told(self) -> pl.DataFrame:
        """Return one line per violating row: `row`, its index in the chunk, and `reason`."""
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
    """The rules of all input columns of a model.

    Args:
        rules: one per column.
        is_text: whether the input has no types, as in CSV.
    """

    def __init__(self, rules: Iterable[Rule], *, is_text: bool = False) -> None:
        self.rules = list(rules)
        self.is_text = is_text

    def check(self, schema: Mapping[str, pl.DataType], where: str) -> None:
        """Check the columns of an input against the rules, before any row is read.

        Raises:
            Refused: a column is missing or has another type.
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
        if not cells.mismatch(dtype, rule.declaration):
            return ""
        shape = f" {list(rule.shape)}" if rule.shape else ""
        return f"the column '{rule.name}' is {dtype}; the model takes {rule.type}{shape}"

    def typed(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Fault]]:
        """Return the input columns of the model, cast to its types, and each rule that is violated."""
        made: list[pl.Series] = []
        faults: list[Fault] = []
        for rule in self.rules:
            raw = rows[rule.name]
            reading = cells.read(raw, rule.declaration)
            made.append(reading.values)
            faults += _found(rule, raw, reading)
        return pl.DataFrame(made), faults


def of(package: Package, folder: Path, *, is_text: bool = False) -> Contract:
    """Return the contract of a package: the types of its signature, and the ranges of its packaged lock.

    Args:
        package: the loaded package.
        folder: its folder, which holds the lock.
        is_text: whether the input has no types, as in CSV.

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


def _rule(column: Mapping[str, Any], lock: Mapping[str, Any]) -> Rule:
    allowed = lock.get("allowed")
    return Rule(
        column["name"],
        column["type"],
        column["nullable"],
        tuple(column.get("shape", ())),
        None if allowed is None else tuple(allowed),
        lock.get("min"),
        lock.get("max"),
        {key: column[key] for key in KEYS if key in column},
    )


def reasons(faults: list[Fault]) -> pl.DataFrame:
    """Return `row`, the indices of the violating rows in order, and `reason`, all problems of each row in one text."""
    told = pl.concat(fault.told() for fault in faults)
    return told.group_by("row", maintain_order=True).agg(pl.col("reason").str.join("; ")).sort("row")


def _found(rule: Rule, raw: pl.Series, reading: cells.Reading) -> list[Fault]:
    """Return the violations of one rule; a valid column costs one pass."""
    name, column = rule.name, reading.values
    found: list[Fault] = []
    absent = column.is_null() if column.null_count() else None
    if reading.unread is not None:
        shown = None if rule.shape else raw
        found += [Fault(name, *cause, shown) for cause in advice.causes(raw, reading.unread, rule.declaration)]
        absent = column.is_null() & ~reading.unread
    if not rule.nullable and absent is not None and absent.any():
        found.append(Fault(name, absent, "is missing"))
    if rule.type == "array":
        return found + _elements(rule, column)
    if rule.low is not None and _below(column.min(), rule.low):
        found.append(Fault(name, (column < rule.low).fill_null(False), f"is below {rule.low:g}", raw))
    if rule.high is not None and _below(rule.high, column.max()):
        found.append(Fault(name, (column > rule.high).fill_null(False), f"is above {rule.high:g}", raw))
    if rule.allowed is not None:
        other = ~column.is_in(list(rule.allowed)) & column.is_not_null()
        if other.any():
            found.append(Fault(name, other.fill_null(False), f"is none of {_listed(rule.allowed)}", raw))
    return found


def _below(one: Any, other: Any) -> bool:
    """Return whether one value is below another; false if either is None."""
    return one is not None and other is not None and bool(one < other)


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
