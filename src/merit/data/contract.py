"""validate: hold the table against its contract; every violation in one table, with rows as examples."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandera.polars as pa
import polars as pl

from merit import artifacts
from merit.config.schema.data import Column, Data
from merit.errors import Refused

EXAMPLES = 3


@dataclass(frozen=True)
class Violation:
    """One broken rule: what was found in how many rows, what is allowed, and a few of the rows."""

    check: str
    column: str
    found: str
    allowed: str
    rows: int
    examples: list[dict[str, Any]]


def validate(data: Data) -> list[Violation]:
    """Check the table, write `artifacts.DATA_REPORT`, and return the violations; the caller refuses if any."""
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
    """Stop the pipeline if the contract is broken.

    Raises:
        Refused: it is.
    """
    if found:
        raise Refused(
            f"data: {len(found)} violation{'s' * (len(found) > 1)} of the contract; "
            f"the rows are in {artifacts.DATA_REPORT}; mend the data, or the contract in conf/data"
        )


def violations(table: pl.DataFrame, data: Data) -> list[Violation]:
    """Return every rule that the table breaks."""
    numbered = table.with_row_index("row")
    found = [*_whole(numbered, data), *_missing(numbered, data), *_elements(numbered, data)]
    try:
        _schema(data).validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        found += [_broken(numbered, error) for error in errors.schema_errors]
    return found


def _broken(numbered: pl.DataFrame, error: pa.errors.SchemaError) -> Violation:
    """Return one column's broken check, with the rows that break it."""
    kept = error.check_output.lazy().collect().to_series()
    rows = numbered.filter(~kept)
    values = rows[error.schema.name].unique(maintain_order=True).head(EXAMPLES).to_list()
    return Violation(
        "range" if error.check.name in {"greater_than_or_equal_to", "less_than_or_equal_to"} else "allowed",
        error.schema.name,
        f"{', '.join(map(str, values))} in {rows.height} rows",
        error.check.title,
        rows.height,
        _examples(rows),
    )


def _schema(data: Data) -> pa.DataFrameSchema:
    plain = {name: column for name, column in data.columns.items() if column.type != "array"}
    return pa.DataFrameSchema(
        {name: pa.Column(None, checks=_checks(column), nullable=True) for name, column in plain.items()}
    )


def _elements(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check that every element of every array is in its range."""
    found = []
    for name, column in data.columns.items():
        if column.type != "array":
            continue
        low, high = column.min, column.max
        values = numbered[name].to_numpy().reshape(numbered.height, -1)
        outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
        rows = numbered.filter(pl.Series(outside.any(axis=1)))
        if not rows.is_empty():
            told = f"{values[outside][0]:g} and {outside.sum() - 1} more elements"
            allowed = " and ".join(f"at {w} {b:g}" for w, b in (("least", low), ("most", high)) if b is not None)
            found.append(Violation("range", name, told, allowed, rows.height, _examples(rows)))
    return found


def _checks(column: Column) -> list[pa.Check]:
    checks = []
    if column.allowed is not None:
        checks.append(pa.Check.isin(column.allowed, title=f"one of {', '.join(map(str, column.allowed))}"))
    if column.min is not None:
        checks.append(pa.Check.ge(column.min, title=f"at least {column.min:g}"))
    if column.max is not None:
        checks.append(pa.Check.le(column.max, title=f"at most {column.max:g}"))
    return checks


def _whole(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    """Check the number of rows and the uniqueness of keys."""
    limits, keys = data.contract.rows, data.contract.unique
    found = []
    if not limits.min <= numbered.height <= limits.max:
        allowed = f"{limits.min} to {limits.max}"
        found.append(Violation("rows", "", f"{numbered.height} rows", allowed, numbered.height, []))
    twice = numbered.filter(pl.struct(keys).is_duplicated()) if keys else numbered.clear()
    if not twice.is_empty():
        found.append(
            Violation(
                "unique",
                ", ".join(keys),
                "the same key again",
                "each key once",
                twice.height,
                _examples(twice),
            )
        )
    return found


def _missing(numbered: pl.DataFrame, data: Data) -> list[Violation]:
    found = []
    for name, column in data.columns.items():
        rows = numbered.filter(pl.col(name).is_null())
        share = rows.height / numbered.height
        if share > column.missing:
            allowed = f"at most {column.missing:.2%}"
            found.append(Violation("missing", name, f"{share:.2%} missing", allowed, rows.height, _examples(rows)))
    return found


def _examples(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a few rows as JSON values."""
    dates = [pl.col(name).cast(pl.String) for name, dtype in rows.schema.items() if dtype.is_temporal()]
    arrays = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Array)]
    return rows.head(EXAMPLES).with_columns(dates).drop(arrays).to_dicts()


def show(found: list[Violation]) -> None:
    """Print the violations as one table, or that there is none."""
    from rich.table import Table
    from rich.text import Text

    from merit.terminal import console, fit

    screen = console()
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
    for each in found:
        example = (
            ", ".join(f"{k}={v}" for k, v in each.examples[0].items() if k in {"row", each.column})
            if each.examples
            else ""
        )
        table.add_row(*map(Text, (each.check, each.column, each.found, each.allowed, example)))
    screen.print(fit(table, screen.width))
