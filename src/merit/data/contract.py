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

MAX_EXAMPLES = 3
MAX_SHOWN = 100
"""Maximum columns of an example row, and maximum violations printed on a terminal."""


@dataclass(frozen=True)
class Rule:
    """One rule for the values of a column.

    Attributes:
        check: the kind of check.
        column: the column's name.
        allowed: the allowed values, as text.
        condition: a Polars expression that is true for each valid value; missing values are valid.
    """

    check: str
    column: str
    allowed: str
    condition: pl.Expr


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
    """Check the table, write `artifacts.DATA_REPORT` and return the violations; `refuse_violations` raises for them."""
    table = artifacts.read_table(artifacts.RAW, "ingest")
    broken_rules = find_violations(table, data)
    columns = [
        {"name": name, "type": str(dtype), "missing": table[name].null_count() / table.height}
        for name, dtype in table.schema.items()
    ]
    report = {
        "passed": not broken_rules,
        "rows": table.height,
        "columns": columns,
        "violations": [asdict(violation) for violation in broken_rules],
    }
    artifacts.write_json(artifacts.DATA_REPORT, report)
    return broken_rules


def refuse_violations(broken_rules: list[Violation]) -> None:
    """Stop the pipeline if there are violations.

    Raises:
        Refused: there is at least one violation.
    """
    if broken_rules:
        raise Refused(
            f"data: {len(broken_rules)} violation{'s' * (len(broken_rules) > 1)} of the contract; "
            f"the rows are in {artifacts.DATA_REPORT}; correct the data, or the contract in conf/data"
        )


def find_violations(table: pl.DataFrame, data: Data) -> list[Violation]:
    """Return every rule that the table violates."""
    numbered = table.with_row_index("row" if "row" not in table.columns else "row number")
    return [
        *_check_table(numbered, data),
        *_check_missing(numbered, data),
        *_check_elements(numbered, data),
        *_check_values(numbered, data),
    ]


def _check_values(numbered: pl.DataFrame, data: Data) -> Iterator[Violation]:
    """Check every present value against its column's range and allowed values; one pass covers all columns."""
    rules = [
        rule for name, column in data.columns.items() if column.type != "array" for rule in _list_rules(name, column)
    ]
    counts = numbered.select((~rule.condition).sum().alias(str(index)) for index, rule in enumerate(rules))
    for rule, count in zip(rules, counts.row(0) if rules else (), strict=True):
        if count:
            values = numbered.select(
                _select_column(rule.column).filter(~rule.condition).unique(maintain_order=True).head(MAX_EXAMPLES)
            )
            found_text = f"{', '.join(map(str, values.to_series()))} in {count} rows"
            examples = _collect_examples(numbered, ~rule.condition, [rule.column, *data.contract.unique])
            yield Violation(rule.check, rule.column, found_text, rule.allowed, count, examples)


def _check_elements(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check that every element of every array is in its column's range."""
    results = []
    for name, column in data.columns.items():
        if column.type != "array":
            continue
        low, high = column.min, column.max
        values = numbered[name].to_numpy().reshape(numbered.height, -1)
        outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
        broken = pl.Series(outside.any(axis=1))
        if rows := int(broken.sum()):
            found_text = f"{values[outside][0]:g} and {outside.sum() - 1} more elements"
            allowed = " and ".join(
                f"at {word} {bound:g}" for word, bound in (("least", low), ("most", high)) if bound is not None
            )
            results.append(
                Violation("range", name, found_text, allowed, rows, _collect_examples(numbered, broken, [name]))
            )
    return results


def _list_rules(name: str, column: Column) -> Iterator[Rule]:
    value = _select_column(name)
    if column.allowed is not None:
        allowed_text = f"one of {', '.join(map(str, column.allowed))}"
        yield Rule("allowed", name, allowed_text, value.is_in(column.allowed).fill_null(True))
    if column.min is not None:
        yield Rule("range", name, f"at least {column.min:g}", (value >= column.min).fill_null(True))
    if column.max is not None:
        yield Rule("range", name, f"at most {column.max:g}", (value <= column.max).fill_null(True))


def _select_column(name: str) -> pl.Expr:
    """Return the column with exactly this name; `pl.col` would interpret `*` and `^...$` as patterns."""
    return selectors.by_name(name).as_expr()


def _check_table(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check the number of rows and the uniqueness of the keys."""
    limits, keys = data.contract.rows, data.contract.unique
    results = []
    if not limits.min <= numbered.height <= limits.max:
        allowed = f"{limits.min} to {limits.max}"
        results.append(Violation("rows", "", f"{numbered.height} rows", allowed, numbered.height, []))
    is_duplicate = numbered.select(map(_select_column, keys)).is_duplicated() if keys else pl.Series([False])
    if rows := int(is_duplicate.sum()):
        examples = _collect_examples(numbered, is_duplicate, keys)
        results.append(Violation("unique", ", ".join(keys), "the same key again", "each key once", rows, examples))
    return results


def _check_missing(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    results = []
    counts = numbered.null_count().row(0, named=True)
    for name, column in data.columns.items():
        share = counts[name] / numbered.height
        if share > column.missing:
            allowed, named_columns = f"at most {column.missing:.2%}", [name, *data.contract.unique]
            examples = _collect_examples(numbered, _select_column(name).is_null(), named_columns)
            results.append(Violation("missing", name, f"{share:.2%} missing", allowed, counts[name], examples))
    return results


def _collect_examples(
    numbered: pl.DataFrame, is_broken: pl.Expr | pl.Series, named_columns: list[str]
) -> list[dict[str, Any]]:
    """Return a few broken rows as JSON values, with the named columns and up to MAX_SHOWN columns in all."""
    arrays = {name for name, dtype in numbered.schema.items() if isinstance(dtype, pl.Array)}
    columns = [name for name in numbered.columns if name not in arrays]
    if len(columns) > MAX_SHOWN:
        columns = list(dict.fromkeys([columns[0], *(n for n in named_columns if n not in arrays), *columns]))[
            :MAX_SHOWN
        ]
    needed = list(dict.fromkeys([*columns, *named_columns]))
    rows = (
        numbered.select(map(_select_column, needed))
        .filter(is_broken)
        .head(MAX_EXAMPLES)
        .select(map(_select_column, columns))
    )
    dates = [_select_column(name).cast(pl.String) for name, dtype in rows.schema.items() if dtype.is_temporal()]
    return rows.with_columns(dates).to_dicts()


def print_violations(broken_rules: list[Violation]) -> None:
    """Print the violations as a table, or that the contract passed."""
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import create_console, fit_table

    terminal = create_console()
    if not broken_rules:
        terminal.print("contract: passed")
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
    for violation in broken_rules[:MAX_SHOWN]:
        table.add_row(
            *map(
                Text,
                (
                    violation.check,
                    violation.column,
                    violation.found,
                    violation.allowed,
                    _format_first_example(violation),
                ),
            )
        )
    terminal.print(fit_table(table, terminal.width))
    if len(broken_rules) > MAX_SHOWN:
        terminal.print(f"and {len(broken_rules) - MAX_SHOWN:,} more, all in {artifacts.DATA_REPORT}")


def _format_first_example(violation: Violation) -> str:
    """Return the first example as text: the row number, which is its first column, and the value."""
    if not violation.examples:
        return ""
    row = violation.examples[0]
    return ", ".join(
        f"{name}={row[name]}" for name in dict.fromkeys([next(iter(row)), violation.column]) if name in row
    )
