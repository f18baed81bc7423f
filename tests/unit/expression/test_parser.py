import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit.expression import ExpressionError, list_columns, parse_expression, quote_name
from merit.expression.functions import FUNCTION_BUILDERS
from merit.expression.grammar import ARGUMENT_COUNTS, LITERAL_ARGUMENTS


def _refusal(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("arr_delay >= 15", ("arr_delay",)),
        ("b = 1 AND a > b OR NOT a IS NULL", ("b", "a")),
        ('"with space" || "say ""x""" = \'a\'', ("with space", 'say "x"')),
        ("CASE kind WHEN other THEN LENGTH(name) ELSE CAST(price AS INT) END", ("kind", "other", "name", "price")),
        ("EXTRACT(DOW FROM day) IN (6, 0) AND date > DATE '2024-01-31'", ("day", "date")),
        ("`or` LIKE 'a%' AND year BETWEEN low AND high", ("or", "year", "low", "high")),
        ("naïve > 0", ("naïve",)),
    ],
)
def test_the_columns_of_an_expression_are_known_in_the_order_of_its_text(text: str, columns: tuple[str, ...]) -> None:
    assert list_columns(text) == columns


@pytest.mark.parametrize(
    "name", ["plain", "With Capital", 'a "b" c', "order", "select", "case", "date", "", "a.b", "é"]
)
def test_a_quoted_name_is_that_column(name: str) -> None:
    assert list_columns(f"{quote_name(name)} = 1") == (name,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a IN (SELECT a FROM read_csv('x'))",
            "found 'SELECT'; an expression has no queries and windows; at character 7",
        ),
        ("read_csv('/etc/passwd') = 1", "'read_csv' is not a function that is allowed; allowed: ABS, CEIL"),
        ("a = 1 OR scan_parquet('http://x/y') = 1", "'scan_parquet' is not a function that is allowed"),
        ('"read_csv"(a) = 1', "found '(' after the column 'read_csv'"),
        ("a; DROP TABLE x", "found ';'; an expression is one condition or value, without ';'; at character 2"),
        ("a = 1 -- b", "found '--'; an expression has no comments; at character 7"),
        ("a /* b */ = 1", "found '/*'; an expression has no comments; at character 3"),
        ("SUM(a) OVER () > 1", "'SUM' is not a function that is allowed"),
        ("EXISTS (SELECT 1) AND a", "found 'EXISTS'; an expression has no queries and windows"),
        ("COUNT(*) > a", "'COUNT' is not a function that is allowed"),
        ("* = a", "found '*', where a column or a value should stand; at character 1"),
        ("t.a = 1", "found '.'; a column is named alone"),
        ("a = 'open", "found '''; a text that doesn't end"),
        ('"open = 1', "found '\"'; a name that doesn't end"),
        ("a = \x00", "found U+0000; no expression holds it"),
        ("", "found the end, where a column or a value should stand; at character 1"),
        ("a >", "found the end, where a column or a value should stand; at character 4"),
        ("a b", "found 'b', where an operator or the end should stand; at character 3"),
        ("(a", "found the end, where ')' should stand"),
        ("a IN ()", "found ')', where a column or a value should stand"),
        ("1 < a < 3", "comparisons in a row; put one of them in parentheses; at character 7"),
        ("a || b + 1 = 'x'", "put parentheses around what '||' joins beside arithmetic"),
        ("a LIKE b", "found 'b', where a pattern as text in single quotes should stand"),
        ("a LIKE 'x!' ESCAPE '!!'", "ESCAPE takes one character; found 2"),
        (f"a LIKE '{'_' * 501}'", "a pattern of 501 characters; allowed: 500"),
        ("a IS 3", "found '3', where NULL, TRUE, FALSE or DISTINCT FROM should stand"),
        ("CASE a END", "found 'END', where 'WHEN' should stand"),
        ("CAST(a AS regclass)", "found 'regclass'; allowed types: BIGINT"),
        ("CAST(a AS DECIMAL(99, 2))", "DECIMAL(99, 2); allowed: 1 to 38 digits"),
        ("a::int::text::int::text::int::text::int = 1", "more than 4 casts in a row"),
        ("EXTRACT(SECRET FROM a)", "found 'SECRET'; allowed parts of a time: YEAR"),
        ("EXTRACT(", "found the end"),
        ("a > DATE '31.1.2024'", "DATE '31.1.2024'; write it like '2024-01-31'; at character 10"),
        ("a > TIMESTAMP '2024-01-31T10:00+01:00'", "has a zone; write it in UTC"),
        ("a > INTERVAL '1 month'", "INTERVAL '1 month'; write it like '2 days'; allowed: week, day"),
        ("a > INTERVAL '9999999 weeks'", "is longer than"),
        ("LOWER() = a", "LOWER with 0 arguments; allowed: 1; at character 1"),
        ("SUBSTR(a, 1, 2, 3) = a", "SUBSTR with 4 arguments; allowed: 2 to 3"),
        ("ROUND(a, a)", "ROUND: argument 2 must be a value that stands in the text"),
        ("ROUND(a, 99)", "ROUND: allowed places: 0 to 15"),
        ("REPLACE(a, 'x', 'xx') = 'y'", "REPLACE with a text longer than the one that it replaces"),
        ("REPLACE(a, '', '') = 'y'", "REPLACE takes two texts, the first of them not empty"),
        ("TRIM(a, b) = 'y'", "TRIM: argument 2 must be a value that stands in the text"),
        ("1 = 1", "it names no column, so it would say the same of every row"),
        (f"a = {'9' * 39}", "has more than 38 digits"),
        ("a = 1e999", "'1e999' is beyond what a number can hold"),
        ("a = 1 'x\ny\x1b'", "found 'x?y?', where an operator"),
        (f"a = 1 '{'x' * 99}'", f"found '{'x' * 40}...', where an operator"),
        ("a = ٣", "found '٣'; no expression holds it"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, says: str) -> None:
    assert says in _refusal(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (" OR ".join(["a = 1"] * 20_000), "characters; allowed: 20,000"),
        ("+".join(["a"] * 4_001), "found more than 4,000 terms"),
        ("(" * 20_000 + "a" + ")" * 20_000, "characters; allowed: 20,000"),
        ("(" * 1_000 + "a" + ")" * 1_000, "nested more than 24 levels deep"),
        ("NOT " * 1_000 + "a", "nested more than 24 levels deep"),
        ("- " * 1_000 + "a", "nested more than 24 levels deep"),
        ("ABS(" * 100 + "a" + ")" * 100, "nested more than 24 levels deep"),
        ("CASE WHEN a THEN " * 100 + "1" + " END" * 100, "nested more than 24 levels deep"),
    ],
    ids=["long", "many terms", "many parentheses", "nested", "NOT", "signs", "calls", "CASE"],
)
def test_what_is_too_long_or_too_deep_is_refused_in_a_line(text: str, says: str) -> None:
    assert says in _refusal(text)


def test_every_function_of_the_grammar_is_one_that_can_be_calculated() -> None:
    assert set(ARGUMENT_COUNTS) - {"DATE_PART"} == set(
        FUNCTION_BUILDERS
    )  # DATE_PART is parsed into the part that it names
    assert set(LITERAL_ARGUMENTS) < set(ARGUMENT_COUNTS)


WORDS = "a 1 2.5 'x' AND NOT IN IS NULL LIKE CASE WHEN THEN END CAST AS INT :: || EXTRACT FROM DATE SELECT ABS é -- /*"
SOUP = st.sampled_from([*"()+-*/%=<>,'\"`.;#|:!?$@^&~[]{}\\\n\x00 ", *WORDS.split()])


@settings(deadline=None, max_examples=200)
@given(st.lists(SOUP, max_size=14).map(" ".join))
def test_any_text_is_parsed_or_refused_in_a_line(text: str) -> None:
    try:
        parse_expression(text)
    except ExpressionError as error:
        assert "\n" not in str(error)
