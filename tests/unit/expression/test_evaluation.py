"""What an expression gives: the same as Polars' SQL and SQLite where they know it, or a line."""

import math
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit.expression import ExpressionError, evaluate

TABLE = pl.DataFrame(
    {
        "a": [1, 2, None, -7, 40],
        "b": [2.5, None, 0.5, -2.5, 1e9],
        "s": ["ab", "Éa", None, " x y ", "100%"],
        "p": ["b", None, "", "x", "AB"],
        "n": [True, False, None, True, False],
        "d": [date(2024, 1, 31), None, date(2023, 5, 7), date(2024, 2, 29), date(1999, 12, 31)],
        "t": [
            datetime(2024, 1, 31, 13, 5, 7),
            None,
            datetime(2023, 5, 7),
            datetime(2024, 2, 29, 23),
            datetime(2000, 1, 1),
        ],
    }
)
numbers = st.sampled_from(["a", "b", "0", "1", "2.5", "-7", "NULL"])
texts = st.sampled_from(["s", "p", "'ab'", "'x'", "''", "'it''s'"])


def _grown(inner: Any) -> Any:
    number, text, condition = inner
    two = st.tuples(number, number)
    return (
        st.one_of(
            st.tuples(number, st.sampled_from("+-*"), number).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
            number.map(lambda x: f"ABS({x})"),
            two.map(lambda x: f"COALESCE({x[0]}, {x[1]})"),
            st.tuples(condition, number, number).map(lambda x: f"CASE WHEN {x[0]} THEN {x[1]} ELSE {x[2]} END"),
            st.tuples(number, number).map(lambda x: f"NULLIF({x[0]}, {x[1]})"),
            text.map(lambda x: f"CAST(LENGTH({x}) AS BIGINT)"),
        ),
        st.one_of(
            st.tuples(text, text).map(lambda x: f"({x[0]} || {x[1]})"),
            text.map(lambda x: f"TRIM({x})"),
            text.map(lambda x: f"REPLACE({x}, 'a', '')"),
            st.tuples(text, st.integers(1, 4), st.integers(0, 3)).map(lambda x: f"SUBSTR({x[0]}, {x[1]}, {x[2]})"),
            st.tuples(text, text).map(lambda x: f"COALESCE({x[0]}, {x[1]})"),
        ),
        st.one_of(
            st.tuples(number, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), number).map(" ".join),
            st.tuples(text, st.sampled_from(["=", "<>", "<", ">="]), text).map(" ".join),
            st.tuples(condition, st.sampled_from(["AND", "OR"]), condition).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
            condition.map(lambda x: f"NOT ({x})"),
            st.tuples(number, st.sampled_from(["IS NULL", "IS NOT NULL"])).map(" ".join),
            st.tuples(number, st.sampled_from(["", "NOT "]), number, number).map(
                lambda x: f"{x[0]} {x[1]}IN ({x[2]}, {x[3]})"
            ),
            st.tuples(number, st.sampled_from(["", "NOT "]), number, number).map(
                lambda x: f"{x[0]} {x[1]}BETWEEN {x[2]} AND {x[3]}"
            ),
        ),
    )


_CONDITIONS = st.one_of(st.sampled_from(["n", "a > 1", "s = 'ab'"]))
_ONCE = _grown((numbers, texts, _CONDITIONS))
_TWICE = _grown(tuple(st.one_of(base, more) for base, more in zip((numbers, texts, _CONDITIONS), _ONCE, strict=True)))
anything = st.one_of(*_ONCE, *_TWICE)


def _values(found: Any) -> list[Any]:
    """Return values that two engines should agree on: exact numbers as others, missing and NaN alike."""
    plain = [float(v) if isinstance(v, Decimal | int) and not isinstance(v, bool) else v for v in found]
    return [
        None if isinstance(v, float) and math.isnan(v) else round(v, 6) if isinstance(v, float) else v for v in plain
    ]


def _calculated(text: str) -> list[Any] | None:
    try:
        return _values(evaluate(text, TABLE))
    except ExpressionError:
        return None


@settings(deadline=None, max_examples=150)
@given(anything)
def test_an_expression_gives_what_sql_of_polars_gives(text: str) -> None:
    found = _calculated(text)
    if found is None:
        return
    try:
        meant = TABLE.select(pl.sql_expr(text).alias("value")).to_series()
    except pl.exceptions.PolarsError:  # it has no ABS(NULL), for one
        return
    if meant.len() == TABLE.height:  # it folds some that give one value for all rows
        assert found == _values(meant)


def _in_sqlite(text: str) -> list[Any]:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE x (a INTEGER, b REAL, s TEXT, p TEXT, n INTEGER)")
        database.executemany("INSERT INTO x VALUES (?, ?, ?, ?, ?)", TABLE.select("a", "b", "s", "p", "n").rows())
        found = [value for (value,) in database.execute(f"SELECT {text} FROM x")]  # noqa: S608  # written above
    database.close()
    return found


@settings(deadline=None, max_examples=100)
@given(anything)
def test_an_expression_gives_what_sqlite_gives(text: str) -> None:
    found = _calculated(text)
    if found is None:
        return
    plain = [float(value) if isinstance(value, bool) else value for value in found]
    assert plain == _values(_in_sqlite(text))


NONE = [None] * 5


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a / 2", [0.5, 1.0, None, -3.5, 20.0]),
        ("a % 3", [1, 2, None, -1, 1]),
        ("a % 0", NONE),
        ("a - -1", [2, 3, None, -6, 41]),
        ("-a + 2 * 3", [5, 4, None, 13, -34]),
        ("10 - a - 1", [8, 7, None, 16, -31]),
        ("a IN (1, NULL)", [True, None, None, None, None]),
        ("a NOT IN (1, 2)", [False, False, None, True, True]),
        ("n AND NULL", [None, False, None, None, False]),
        ("n IS NOT TRUE", [False, True, True, False, True]),
        ("a IS DISTINCT FROM NULL", [True, True, False, True, True]),
        ("NOT n IS NULL", [True, True, False, True, True]),
        ("s LIKE '_b'", [True, False, None, False, False]),
        ("s LIKE '%!%' ESCAPE '!'", [False, False, None, False, True]),
        ("s ILIKE 'É%'", [False, True, None, False, False]),
        ("s NOT LIKE '%.%'", [True, True, None, True, True]),
        ("CASE a WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE s END", ["one", "two", None, " x y ", "100%"]),
        ("CASE WHEN n THEN 1 END", [1, None, None, 1, None]),
        ("CONCAT(s, '-', a)", ["ab-1", "Éa-2", "-", " x y --7", "100%-40"]),
        ("s || a", ["ab1", "Éa2", None, " x y -7", "100%40"]),
        ("UPPER(LEFT(s, 1)) || LOWER(RIGHT(s, 1))", ["Ab", "Éa", None, "  ", "1%"]),
        ("SUBSTR(s, 0, 2)", ["a", "É", None, " ", "1"]),
        ("SUBSTR(s, STRPOS(s, 'a'))", ["ab", "a", None, " x y ", "100%"]),
        ("LTRIM(s, 'a ')", ["b", "Éa", None, "x y ", "100%"]),
        ("STARTS_WITH(s, 'a') OR ENDS_WITH(s, '%')", [True, False, None, False, True]),
        ("LENGTH(s) - 5", [-3, -3, None, 0, -1]),
        ("ROUND(b, 1) + FLOOR(b) + CEIL(b)", [7.5, None, 1.5, -7.5, 3e9]),
        ("POW(a, -1)", [1.0, 0.5, None, -1 / 7, 0.025]),
        ("GREATEST(a, b, 0)", [2.5, 2.0, 0.5, 0.0, 1e9]),
        ("CAST(b AS BIGINT)", [2, None, 0, -2, 1_000_000_000]),
        ("TRY_CAST(s AS INT)", NONE),
        ("a::text || '!'", ["1!", "2!", None, "-7!", "40!"]),
        ("YEAR(d) * 100 + MONTH(d)", [202401, None, 202305, 202402, 199912]),
        ("EXTRACT(DOW FROM d)", [3, None, 0, 4, 5]),
        ("DATE_PART('isodow', d)", [3, None, 7, 4, 5]),
        ("HOUR(t) * 60 + MINUTE(t)", [785, None, 0, 1380, 0]),
        ("d > '2024-01-01'", [True, None, False, True, False]),
        ("'2024-01-31T13:00' < t", [True, None, False, True, False]),
        ("d IN ('2024-01-31', DATE '1999-12-31')", [True, None, False, False, True]),
        ("d BETWEEN '2023-01-01' AND '2024-01-31'", [True, None, True, False, False]),
        ("EXTRACT(EPOCH FROM t - d) / 3600", [13 + 307 / 3600, None, 0.0, 23.0, 24.0]),
        ("t - d > INTERVAL '13 hours 4 minutes'", [True, None, False, True, True]),
        ("d + INTERVAL '1 day' = '2024-03-01'", [False, None, False, True, False]),
        ("b BETWEEN -1e300 AND 1e300", [True, None, True, True, True]),
    ],
)
def test_values_are_those_of_sql(text: str, values: list[Any]) -> None:
    assert _values(evaluate(text, TABLE)) == _values(values)


def test_columns_are_taken_by_their_name_whatever_it_is() -> None:
    table = pl.DataFrame({"^.*$": [1], "*": [2], "a.b": [3], 'say "x"': [4], "0": [5], "value": [6]})
    assert evaluate('"^.*$" + "*" * 10 + "a.b" * 100 + "say ""x""" * 1000 + "0" * 10000 + value * 0', table)[0] == 54321


def test_types_that_go_around_or_round_are_widened_first() -> None:
    table = pl.DataFrame(
        {"small": pl.Series([100], dtype=pl.Int8), "plain": pl.Series([3], dtype=pl.UInt32),
         "exact": [Decimal("2.25")], "kind": pl.Series(["x"], dtype=pl.Categorical)}
    )  # fmt: skip
    assert evaluate("small * 100 - plain * 4000", table).to_list() == [-2000]
    assert evaluate("exact * 1.5", table).to_list() == [3.375]
    assert evaluate("exact + 0.05 = 2.3", table).to_list() == [True]
    assert evaluate("UPPER(kind) = 'X'", table).to_list() == [True]


def test_exact_numbers_stay_exact() -> None:
    table = pl.DataFrame(
        {"id": pl.Series([Decimal("-12345678901234567890123456789012345678")], dtype=pl.Decimal(38, 0))}
    )
    assert evaluate("id = -12345678901234567890123456789012345678", table).to_list() == [True]
    assert evaluate("id = -12345678901234567890123456789012345679", table).to_list() == [False]


def test_times_with_a_zone_are_utc() -> None:
    times = pl.Series([datetime(2024, 1, 1, 1)]).dt.replace_time_zone("Europe/Berlin")
    assert evaluate("t < '2024-01-01' AND HOUR(t) = 0", pl.DataFrame({"t": times})).to_list() == [False]
    assert evaluate("t = '2024-01-01 00:00'", pl.DataFrame({"t": times})).to_list() == [True]


def test_a_table_without_rows_gives_none() -> None:
    assert evaluate("a > 1 AND s LIKE 'x%' OR a IN (1, 2)", TABLE.clear()).to_list() == []


def test_many_terms_are_calculated() -> None:
    assert evaluate(" OR ".join(f"a = {number}" for number in range(1000)), TABLE)[0]
    assert evaluate(" + ".join(["a"] * 1500), TABLE)[0] == 1500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing > 3", "there is no column 'nothing'; at character 1"),
        ("s > 3", "'>' doesn't fit String and Int64; CAST what is of another type; at character 3"),
        ("n AND a", "found Int64, where a condition should stand; at character 7"),
        ("CASE WHEN s THEN 1 END", "found String, where a condition should stand; at character 11"),
        ("LOWER(a)", "LOWER: found Int64, where text should stand; at character 7"),
        ("SQRT(s)", "SQRT: found String, where a number should stand; at character 6"),
        ("YEAR(s)", "YEAR: found String, where a date or time should stand; at character 6"),
        ("a LIKE '1%'", "LIKE: found Int64, where text should stand"),
        ("CAST(s AS INT) > 1", "CAST: 4 values are no Int64; TRY_CAST gives NULL for them; at character 1"),
        ("a * 9000000000000000000", "'*' gives whole numbers beyond 64 bits; CAST one side AS DOUBLE; at character 3"),
        ("d > 'yesterday'", "the text is no date or time; write it like '2024-01-31'; at character 5"),
        ("t > '2024-01-01T00:00Z'", "the time has a zone; write it in UTC, without one; at character 5"),
        ("a LIKE 'x'", "LIKE: found Int64"),
        ("s LIKE 'x!' ESCAPE '!'", "the pattern ends with its ESCAPE character"),
        ("HOUR(d)", "HOUR doesn't fit Date"),
    ],
)
def test_what_does_not_fit_is_told_by_place_and_type(text: str, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, TABLE)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["CAST(s AS INT)", "s::date", "s > 1", "SQRT(s)", "s - 1", "CAST(s AS DECIMAL(3, 1))"])
def test_no_value_of_the_table_stands_in_an_error(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, pl.DataFrame({"s": ["the-secret"]}))
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or error.__context__
