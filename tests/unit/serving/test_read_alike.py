"""Whoever reads a cell reads it as training did: a column, a cell by itself, the endpoint's tables, batches, JSON."""

from datetime import UTC
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit.batch.contract import ColumnRule, Contract
from merit.reading.column_cells import ColumnReading, read_column
from merit.reading.declaration import ColumnDeclaration, build_declaration
from merit.reading.nulls import build_null_declaration
from merit.serving.app.row_values import BadRows, parse_timestamp, resolve_null
from merit.serving.codec import decoder
from merit.serving.codec.bounds.budget import ByteBudget

CELLS = (
    "1", "-1", "007", "1.5", "1,5", "1.234,5", "1,234.5", "1 234", "(5)", "($5)", "5%", "€ 5", "1e3", "1e400", "inf",
    "nan", "9007199254740992", "9007199254740993", "-999", "-999.0", "none", "", " ", "x", "true", "2024-01-31",
    "31.01.2024", "1/2/2024", "2024-01-31T10:00:00Z", "2024-01-31 10:00+01", "1900-01-01", "01.01.1900", "2.0",
    "+5", " 7 ",
)  # fmt: skip
WORDS = st.lists(st.sampled_from(["none", "-999", "x", "1900-01-01", "0"]), max_size=2, unique=True)
NUMBERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"]), "null_values": WORDS},
    optional={"decimal": st.just(","), "thousands": st.sampled_from([".", " "]), "negative": st.just("parentheses"),
              "affixes": st.sampled_from([["$"], ["%", "€"]])},
)  # fmt: skip
TIMES = st.fixed_dictionaries(
    {"type": st.just("datetime"), "null_values": WORDS},
    optional={"format": st.sampled_from(["%d.%m.%Y", "%m/%d/%Y", "%Y-%d-%m"])},
)
OTHERS = st.fixed_dictionaries({"type": st.sampled_from(["string", "boolean"]), "null_values": WORDS})


def _possible(column: dict[str, Any]) -> bool:
    return column.get("thousands") != column.get("decimal", ".")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.one_of(NUMBERS.filter(_possible), TIMES, OTHERS),
    st.lists(st.one_of(st.sampled_from(CELLS), st.none()), min_size=1, max_size=8),
)
def test_every_reader_reads_a_cell_alike(settings: dict[str, Any], cells: list[str | None]) -> None:
    how, raw = build_declaration("x", settings), pl.Series("x", cells, dtype=pl.String)
    column = {"name": "x", "nullable": True, "type": how.type, **how.settings}
    found = read_column(raw, how)
    unread = [False] * len(cells) if found.unread is None else found.unread.to_list()
    _check_alone(cells, how, found, unread)
    _check_table(raw, column, found)
    _check_batch(raw, column, found, unread)
    _check_json(cells, column, found, unread)
    again = read_column(found.values, how)  # what was read, as Parquet has it
    assert (again.values.to_list(), again.unread) == (found.values.to_list(), None)


def _check_alone(cells: list[str | None], how: ColumnDeclaration, found: ColumnReading, unread: list[bool]) -> None:
    alone = [read_column(pl.Series("x", [cell], dtype=pl.String), how) for cell in cells]
    assert [each.values[0] for each in alone] == found.values.to_list()
    assert [each.unread is not None for each in alone] == unread


def _check_table(raw: pl.Series, column: dict[str, Any], found: ColumnReading) -> None:
    if found.unread is not None:
        with pytest.raises(decoder.InvalidTable):
            decoder._encode_column(raw, column, ByteBudget(10**6))
        return
    decoded = decoder._encode_column(raw, column, ByteBudget(10**6))
    if column["type"] == "string":
        assert decoded == found.values.fill_null("").to_list()
        return
    values = found.values.cast(pl.Int64) / 1e6 if column["type"] == "datetime" else found.values
    assert np.array_equal(np.frombuffer(decoded), values.cast(pl.Float64).fill_null(np.nan).to_numpy(), equal_nan=True)


def _check_batch(raw: pl.Series, column: dict[str, Any], found: ColumnReading, unread: list[bool]) -> None:
    rule = ColumnRule("x", column["type"], nullable=True, reading_options=column)
    typed, faults = Contract([rule]).cast_rows(raw.to_frame())
    assert typed["x"].equals(found.values)
    broken = {row for fault in faults for row in fault.mask.arg_true()}
    assert broken == {row for row, is_unread in enumerate(unread) if is_unread}


def _check_json(cells: list[str | None], column: dict[str, Any], found: ColumnReading, unread: list[bool]) -> None:
    """Strings are read by their text, numbers as the numbers that they are."""
    how = build_null_declaration(column)
    is_text = column["type"] in {"string", "datetime"}
    for cell, value, is_unread in zip(cells, found.values, unread, strict=True):
        sent = cell if is_text else value
        made = sent if how is None else resolve_null(sent, how, nullable=True)
        if column["type"] != "datetime" or made is None:
            assert made == value
        elif is_unread:
            with pytest.raises(BadRows):
                parse_timestamp(column, made)
        else:
            assert parse_timestamp(column, made) == value.replace(tzinfo=UTC).timestamp()
