"""Checks the ingested table against its contract (stage validate) and reports all violations with example rows."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from polars import selectors

from merit import artifacts
from merit.config.schema.column import Column
from merit.config.schema.data import Data
from merit.errors import Refused

EXAMPLES = 3
MOST_SHOWN = 100
"""Maximum columns of an example row, and maximum violations printed on a terminal."""


@dataclass(frozen=True)
class Rule:
    """One rule for the values of a column.

    Attributes:
        check: the kind of check.
        column: the column's name.
        allowed: the allowed values, as text.
        holds: a Polars expression that is true for each valid value; missing values are valid.
    """

    check: str
    column: str
    allowed: str
    holds: pl.Expr


@dataclass(frozen=True)
class Violation:
    """A violated rule: what was found in how many rows, what is allowed, and a few of these rows."""

    check: str
    column: str
    found: str
    allowed: str
    rows: int
    examples: list[dict[str, Any]]


def validate(data: Data) -> list[Violation]:
    """Check the table, write `artifacts.DATA_REPORT` and return the violations; `refuse` raises for them."""
    table = artifacts.read_table(artifacts.RAW, "ingest")
    found = violations(table, data)
    columns = [
        {"name": name, "type": str(dtype), "missing": table[name].null_count() / table.height}
        for name, dtype in table.schema.items()
    ]
    report = {
        "passed": not found,
        "rows": table.height,
        "columns": columns,
        "violations": [asdict(violation) for violation in found],
    }
    artifacts.write_json(artifacts.DATA_REPORT, report)
    return found


def refuse(found: list[Violation]) -> None:
    """Stop the pipeline if there are violations.

    Raises:
        Refused: there is at least one violation.
    """
    if found:
        raise Refused(
            f"data: {len(found)} violation{'s' * (len(found) > 1)} of the contract; "
            f"the rows are in {artifacts.DATA_REPORT}; mend the data, or the contract in conf/data"
        )


def violations(table: pl.DataFrame, data: Data) -> list[Violation]:
    """Return every rule that the table violates."""
    numbered = table.with_row_index("row" if "row" not in table.columns else "row number")
    return [*_whole(numbered, data), *_missing(numbered, data), *_elements(numbered, data), *_values(numbered, data)]


def _values(numbered: pl.DataFrame, data: Data) -> Iterator[Violation]:
    """Check every present value against its column's range and allowed values; one pass covers all columns."""
    rules = [rule for name, column in data.columns.items() if column.type != "array" for rule in _rules(name, column)]
    counts = numbered.select((~rule.holds).sum().alias(str(place)) for place, rule in enumerate(rules))
    for rule, count in zip(rules, counts.row(0) if rules else (), strict=True):
        if count:
            values = numbered.select(
                _column(rule.column).filter(~rule.holds).unique(maintain_order=True).head(EXAMPLES)
            )
            found = f"{', '.join(map(str, values.to_series()))} in {count} rows"
            examples = _examples(numbered, ~rule.holds, [rule.column, *data.contract.unique])
            yield Violation(rule.check, rule.column, found, rule.allowed, count, examples)


def _elements(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check that every element of every array is in its column's range."""
    found = []
    for name, column in data.columns.items():
        if column.type != "array":
            continue
        low, high = column.min, column.max
        values = numbered[name].to_numpy().reshape(numbered.height, -1)
        outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
        broken = pl.Series(outside.any(axis=1))
        if rows := int(broken.sum()):
            told = f"{values[outside][0]:g} and {outside.sum() - 1} more elements"
            allowed = " and ".join(f"at {w} {b:g}" for w, b in (("least", low), ("most", high)) if b is not None)
            found.append(Violation("range", name, told, allowed, rows, _examples(numbered, broken, [name])))
    return found


def _rules(name: str, column: Column) -> Iterator[Rule]:
    value = _column(name)
    if column.allowed is not None:
        among = f"one of {', '.join(map(str, column.allowed))}"
        yield Rule("allowed", name, among, value.is_in(column.allowed).fill_null(True))
    if column.min is not None:
        yield Rule("range", name, f"at least {column.min:g}", (value >= column.min).fill_null(True))
    if column.max is not None:
        yield Rule("range", name, f"at most {column.max:g}", (value <= column.max).fill_null(True))


def _column(name: str) -> pl.Expr:
    """Return the column with exactly this name; `pl.col` would interpret `*` and `^...$` as patterns."""
    return selectors.by_name(name).as_expr()


def _whole(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check the number of rows and the uniqueness of the keys."""
    limits, keys = data.contract.rows, data.contract.unique
    found = []
    if not limits.min <= numbered.height <= limits.max:
        allowed = f"{limits.min} to {limits.max}"
        found.append(Violation("rows", "", f"{numbered.height} rows", allowed, numbered.height, []))
    twice = numbered.select(map(_column, keys)).is_duplicated() if keys else pl.Series([False])
    if rows := int(twice.sum()):
        examples = _examples(numbered, twice, keys)
        found.append(Violation("unique", ", ".join(keys), "the same key again", "each key once", rows, examples))
    return found


def _missing(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    found = []
    counts = numbered.null_count().row(0, named=True)
    for name, column in data.columns.items():
        share = counts[name] / numbered.height
        if share > column.missing:
            allowed, named = f"at most {column.missing:.2%}", [name, *data.contract.unique]
            examples = _examples(numbered, _column(name).is_null(), named)
            found.append(Violation("missing", name, f"{share:.2%} missing", allowed, counts[name], examples))
    return found


def _examples(numbered: pl.DataFrame, broken: pl.Expr | pl.Series, named: list[str]) -> list[dict[str, Any]]:
    """Return a few broken rows as JSON values, with the named columns and up to MOST_SHOWN columns in all."""
    arrays = {name for name, dtype in numbered.schema.items() if isinstance(dtype, pl.Array)}
    columns = [name for name in numbered.columns if name not in arrays]
    if len(columns) > MOST_SHOWN:
        columns = list(dict.fromkeys([columns[0], *(n for n in named if n not in arrays), *columns]))[:MOST_SHOWN]
    needed = list(dict.fromkeys([*columns, *named]))
    rows = numbered.select(map(_column, needed)).filter(broken).head(EXAMPLES).select(map(_column, columns))
    dates = [_column(name).cast(pl.String) for name, dtype in rows.schema.items() if dtype.is_temporal()]
    return rows.with_columns(dates).to_dicts()


def show(found: list[Violation]) -> None:
    """Print the violations as a table, or that the contract passed."""
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import create_console, fit_table

    screen = create_console()
    if not found:
        screen.print("contract: passed")
        return
    table = Table(
        "check",
        "column",
        "found",
        "allowed",
        "example",
        title="violations of the contract",
        title_justify="left",
    )
    for each in found[:MOST_SHOWN]:
        table.add_row(*map(Text, (each.check, each.column, each.found, each.allowed, _first(each))))
    screen.print(fit_table(table, screen.width))
    if len(found) > MOST_SHOWN:
        screen.print(f"and {len(found) - MOST_SHOWN:,} more, all in {artifacts.DATA_REPORT}")


def _first(violation: Violation) -> str:
    """Return the first example as text: the row number, which is its first column, and the value."""
    if not violation.examples:
        return ""
    row = violation.examples[0]
    return ", ".join(
        f"{name}={row[name]}" for name in dict.fromkeys([next(iter(row)), violation.column]) if name in row
    )
