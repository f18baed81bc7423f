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
from merit.reading import cell_advice, column_cells
from merit.reading.declaration import CELL_KEYS, ColumnDeclaration, build_declaration
from merit.scoring.package import Package

MAX_DISPLAYED_CHARACTERS = 40
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class ColumnRule:
    """The values that one input column of the model may hold."""

    name: str
    type: str
    nullable: bool
    shape: tuple[int, ...] = ()
    allowed: tuple[Any, ...] | None = None
    min_value: float | None = None
    max_value: float | None = None
    reading_options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def declaration(self) -> ColumnDeclaration:
        """The declaration by which its cells are read, the same as in training."""
        return build_declaration(self.name, {**self.reading_options, "type": self.type, "shape": self.shape})


@dataclass(frozen=True)
class Violation:
    """A rule that some rows violate.

    Attributes:
        name: the column.
        mask: a mask over the chunk, true where the rule is violated.
        description: the end of the message about a row, such as "is below 0".
        values: the values to show in that message; None shows none.
    """

    name: str
    mask: pl.Series
    description: str
    values: pl.Series | None = None

    def to_table(self) -> pl.DataFrame:
        """Return one line per violating row: `row`, its index in the chunk, and `reason`."""
        row_indices = self.mask.arg_true().cast(pl.Int64).alias("row")
        if self.values is None:
            return pl.DataFrame(
                {
                    "row": row_indices,
                    "reason": pl.repeat(f"{self.name} {self.description}", len(row_indices), eager=True),
                }
            )
        displayed = (
            self.values.filter(self.mask).cast(pl.String).fill_null("null").str.slice(0, MAX_DISPLAYED_CHARACTERS)
        )
        messages = pl.select(
            pl.format(f"{_escape_braces(self.name)} {{}} {_escape_braces(self.description)}", displayed)
        ).to_series()
        return pl.DataFrame({"row": row_indices, "reason": messages})


def _escape_braces(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


class Contract:
    """The rules of all input columns of a model.

    Args:
        rules: one per column.
        is_text: whether the input has no types, as in CSV.
    """

    def __init__(self, rules: Iterable[ColumnRule], *, is_text: bool = False) -> None:
        self.rules = list(rules)
        self.is_text = is_text

    def check_columns(self, schema: Mapping[str, pl.DataType], source_name: str) -> None:
        """Check the columns of an input against the rules, before any row is read.

        Raises:
            Refused: a column is missing or has another type.
        """
        problems = [problem for rule in self.rules if (problem := self._describe_mismatch(rule, schema))]
        if problems:
            raise Refused(f"{source_name}: breaks the model's contract: {'; '.join(problems)}; nothing was scored")

    def _describe_mismatch(self, rule: ColumnRule, schema: Mapping[str, pl.DataType]) -> str:
        if rule.name not in schema:
            suggestions = difflib.get_close_matches(rule.name, sorted(schema), n=1)
            return f"the column '{rule.name}' is missing" + (f", is it '{suggestions[0]}'?" if suggestions else "")
        dtype = schema[rule.name]
        if self.is_text and rule.type == "array":
            return f"the column '{rule.name}' is an array, which CSV can't hold; give Parquet"
        if not column_cells.find_mismatch(dtype, rule.declaration):
            return ""
        shape = f" {list(rule.shape)}" if rule.shape else ""
        return f"the column '{rule.name}' is {dtype}; the model takes {rule.type}{shape}"

    def cast_rows(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Violation]]:
        """Return the input columns of the model, cast to its types, and each rule that is violated."""
        cast_columns: list[pl.Series] = []
        violations: list[Violation] = []
        for rule in self.rules:
            raw_values = rows[rule.name]
            reading = column_cells.read_column(raw_values, rule.declaration)
            cast_columns.append(reading.values)
            violations += _find_violations(rule, raw_values, reading)
        return pl.DataFrame(cast_columns), violations


def from_package(package: Package, folder: Path, *, is_text: bool = False) -> Contract:
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
    return Contract((_create_rule(each, columns.get(each["name"], {})) for each in package.inputs), is_text=is_text)


def _create_rule(column: Mapping[str, Any], lock: Mapping[str, Any]) -> ColumnRule:
    allowed = lock.get("allowed")
    return ColumnRule(
        column["name"],
        column["type"],
        column["nullable"],
        tuple(column.get("shape", ())),
        None if allowed is None else tuple(allowed),
        lock.get("min"),
        lock.get("max"),
        {key: column[key] for key in CELL_KEYS if key in column},
    )


def merge_reasons(violations: list[Violation]) -> pl.DataFrame:
    """Return `row`, the indices of the violating rows in order, and `reason`, all problems of each row in one text."""
    messages = pl.concat(violation.to_table() for violation in violations)
    return messages.group_by("row", maintain_order=True).agg(pl.col("reason").str.join("; ")).sort("row")


def _find_violations(rule: ColumnRule, raw_values: pl.Series, reading: column_cells.ColumnReading) -> list[Violation]:
    """Return the violations of one rule; a valid column costs one pass."""
    name, column = rule.name, reading.values
    violations: list[Violation] = []
    missing = column.is_null() if column.null_count() else None
    if reading.unread is not None:
        displayed = None if rule.shape else raw_values
        violations += [
            Violation(name, *cause, displayed)
            for cause in cell_advice.find_causes(raw_values, reading.unread, rule.declaration)
        ]
        missing = column.is_null() & ~reading.unread
    if not rule.nullable and missing is not None and missing.any():
        violations.append(Violation(name, missing, "is missing"))
    if rule.type == "array":
        return violations + _check_elements(rule, column)
    if rule.min_value is not None and _is_below(column.min(), rule.min_value):
        violations.append(
            Violation(name, (column < rule.min_value).fill_null(False), f"is below {rule.min_value:g}", raw_values)
        )
    if rule.max_value is not None and _is_below(rule.max_value, column.max()):
        violations.append(
            Violation(name, (column > rule.max_value).fill_null(False), f"is above {rule.max_value:g}", raw_values)
        )
    if rule.allowed is not None:
        unlisted = ~column.is_in(list(rule.allowed)) & column.is_not_null()
        if unlisted.any():
            violations.append(
                Violation(name, unlisted.fill_null(False), f"is none of {_render_values(rule.allowed)}", raw_values)
            )
    return violations


def _is_below(value: Any, bound: Any) -> bool:
    """Return whether one value is below another; false if either is None."""
    return value is not None and bound is not None and bool(value < bound)


def _check_elements(rule: ColumnRule, column: pl.Series) -> list[Violation]:
    import numpy as np

    present = column.is_not_null()
    if not present.any():
        return []
    values = column.drop_nulls().to_numpy().reshape(int(present.sum()), -1)
    min_value, max_value = (
        (-np.inf if rule.min_value is None else rule.min_value),
        (np.inf if rule.max_value is None else rule.max_value),
    )
    violations = []
    for invalid, description in (
        (~np.isfinite(values), "has elements that are missing or not finite"),
        ((values < min_value) | (values > max_value), f"has elements outside {min_value:g} to {max_value:g}"),
    ):
        mask = np.zeros(len(column), dtype=bool)
        mask[present.to_numpy()] = invalid.any(axis=1)
        if mask.any():
            violations.append(Violation(rule.name, pl.Series(mask), description))
    return violations


def _render_values(values: tuple[Any, ...]) -> str:
    displayed = ", ".join(map(str, values[:10]))
    return f"{displayed} and {len(values) - 10} more" if len(values) > 10 else displayed
