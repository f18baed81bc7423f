import pytest

from merit.expression import tokens


def test_tokens_have_their_kind_their_text_without_quotes_and_their_position() -> None:
    found = tokens.tokenize('a >= 1.5e-3 OR "b ""c""" <> \'it\'\'s\'')
    assert [(each.kind, each.text, each.at) for each in found] == [
        ("name", "a", 1),
        ("operator", ">=", 3),
        ("number", "1.5e-3", 6),
        ("name", "OR", 13),
        ("quoted", 'b "c"', 16),
        ("operator", "<>", 26),
        ("text", "it's", 29),
        ("end", "", 36),
    ]
    assert [each.word for each in found][:5] == ["A", ">=", "", "OR", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -- b", "found '--'; an expression has no comments; at character 3"),
        ("a # b", "found '#'; an expression has no comments; at character 3"),
        ("a; b", "found ';'; an expression is one condition or value, without ';'; at character 2"),
        ("'a", "a text that doesn't end"),
        ("a \x01", r"found U\+0001; no expression holds it; at character 3"),
        ("a" * 20_001, "found 20,001 characters; allowed: 20,000"),
        ("1 " * 4_001, "found more than 4,000 terms; allowed: 4,000"),
    ],
)
def test_what_begins_no_token_and_what_is_too_long_is_refused(text: str, message: str) -> None:
    with pytest.raises(tokens.ExpressionError, match=message):
        tokens.tokenize(text)


@pytest.mark.parametrize(
    ("name", "quoted"), [("size_2", "size_2"), ("Size", '"Size"'), ("when", '"when"'), ('a"b', '"a""b"'), ("", '""')]
)
def test_a_name_is_quoted_unless_it_is_plain_and_no_keyword(name: str, quoted: str) -> None:
    assert tokens.quote_name(name) == quoted
    assert [each.text for each in tokens.tokenize(quoted)] == [name, ""]


def test_a_long_token_is_shown_short_and_on_one_line() -> None:
    assert str(tokens.Token("text", "a\n" + "b" * 50, 1)) == f"'a?{'b' * 38}...'"
    assert str(tokens.Token("end", "", 1)) == "the end"
