import math
from pathlib import Path
from typing import Any

import pytest
from rehearse import UnknownError
from rehearse.expressions import Scope, as_text, evaluate, fill, holds, value_of

CONTEXTS: dict[str, Any] = {
    "github": {"ref": "refs/heads/Main", "event": {"pull_request": {"draft": False, "labels": [{"name": "lock"}]}}},
    "steps": {"data": {"outcome": "failure"}, "my-step": {"outputs": {"n": "3"}}},
    "matrix": {"line": {"overrides": "a=1"}, "count": 2.0},
    "env": {"EMPTY": "", "FORK": "true"},
    "list": ["a", "B"],
}
SCOPE = Scope(CONTEXTS, {"success": True, "failure": False, "always": True, "cancelled": False})
FAILED = Scope(CONTEXTS, {"success": False, "failure": True, "always": True, "cancelled": False})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ("''", ""),
        ("42", 42),
        ("-1.5e2", -150),
        ("0xff", 255),
        ("0o17", 15),
        (".5", 0.5),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("github.ref", "refs/heads/Main"),
        ("GitHub.REF", "refs/heads/Main"),
        ("github['ref']", "refs/heads/Main"),
        ("github.nothing", None),
        ("github.nothing.deeper", None),
        ("github.ref.deeper", None),
        ("steps.my-step.outputs.n", "3"),
        ("list[0]", "a"),
        ("list[9]", None),
        ("github.event.pull_request.labels.*.name", ["lock"]),
        ("contains(github.event.pull_request.labels.*.name, 'lock')", True),
        ("(1 == 2) || 'other'", "other"),
        ("'' || 'other'", "other"),
        ("'first' || 'other'", "first"),
        ("'first' && 'other'", "other"),
        ("0 && 'other'", 0),
        ("true && 'yes' || 'no'", "yes"),
        ("false && 'yes' || 'no'", "no"),
        ("!true || true", True),
        ("!(true || true)", False),
        ("!!'x'", True),
        ("1 < 2 == true", True),
        ("1 < 2", True),
        ("2 <= 1", False),
        ("2 >= 2", True),
        ("3 > 2", True),
        ("'b' > 'A'", True),
        ("'ABC' == 'abc'", True),
        ("'1' == 1", True),
        ("'x' == 1", False),
        ("'x' != 1", True),
        ("null == 0", True),
        ("null == ''", True),
        ("true == 1", True),
        ("'true' == true", False),
        ("github == github", True),
        ("list == 'a'", False),
        ("contains('Hello', 'hELL')", True),
        ("contains(list, 'b')", True),
        ("contains(list, 'c')", False),
        ("startsWith('refs/heads/x', 'REFS/')", True),
        ("endsWith('refs/heads/x', '/y')", False),
        ("format('{0} and {1} {{0}}', 'a', 2)", "a and 2 {0}"),
        ("join(list, '-')", "a-B"),
        ("join('one')", "one"),
        ("fromJSON('{\"a\": [1, true]}').a[1]", True),
        ("fromJSON('3') == 3", True),
        ("toJSON(list)", '[\n  "a",\n  "B"\n]'),
        ("success()", True),
        ("failure()", False),
        ("steps.data.outcome == 'failure' && always()", True),
    ],
)
def test_an_expression_has_the_value_that_github_gives_it(text: str, value: Any) -> None:
    found = evaluate(text, SCOPE)
    assert found == value
    assert isinstance(found, bool) is isinstance(value, bool)


def test_not_a_number_is_neither_true_nor_equal_to_itself() -> None:
    assert math.isnan(evaluate("NaN", SCOPE))
    assert evaluate("NaN == NaN", SCOPE) is False
    assert evaluate("!NaN", SCOPE) is True
    assert evaluate("'x' < 1", SCOPE) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nosuch.name",
        "nosuch()",
        "github.",
        "github.ref extra",
        "(1",
        "1 +",
        "'open",
        '"double"',
        "list[0",
        "contains('a')",
        "fromJSON('{')",
        "format('{3}', 1)",
        "1 2",
        "3x",
        "a ? b : c",
        "$x",
    ],
)
def test_what_is_not_known_is_told_and_never_passed_over(text: str) -> None:
    with pytest.raises(UnknownError):
        evaluate(text, SCOPE)


def test_the_status_can_be_asked_only_where_there_is_one() -> None:
    with pytest.raises(UnknownError, match="in an if alone"):
        evaluate("success()", Scope(CONTEXTS))


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no expression", "no expression"),
        ("a ${{ github.ref }} b${{ 1 }}", "a refs/heads/Main b1"),
        ("${{ github.nothing }}", ""),
        ("${{ true }} ${{ 1.50 }} ${{ 100000 }}", "true 1.5 100000"),
        ("${{ '}' }}", "}"),
        ("$HOME ${x} {{ y }}", "$HOME ${x} {{ y }}"),
    ],
)
def test_expressions_in_a_text_are_replaced(text: str, filled: str) -> None:
    assert fill(text, SCOPE) == filled


def test_a_value_that_is_wholly_an_expression_keeps_its_type() -> None:
    assert value_of("${{ fromJSON('[1]') }}", SCOPE) == [1]
    assert value_of(" ${{ list }} ", SCOPE) == ["a", "B"]
    assert value_of("x${{ 1 }}", SCOPE) == "x1"
    assert value_of(7, SCOPE) == 7


@pytest.mark.parametrize(
    ("condition", "before", "after"),
    [
        ("true", True, False),
        (True, True, False),
        (False, False, False),
        ("env.FORK == 'true'", True, False),
        ("env.EMPTY", False, False),
        ("always()", True, True),
        ("${{ !cancelled() }}", True, True),
        ("failure()", False, True),
        ("success() || failure() && steps.data.outcome == 'failure'", True, True),
        ("github", True, False),
    ],
)
def test_an_if_without_a_status_means_success(condition: Any, before: bool, after: bool) -> None:
    assert (holds(condition, SCOPE), holds(condition, FAILED)) == (before, after)


def test_an_if_that_would_always_be_true_is_told() -> None:
    with pytest.raises(UnknownError, match="would take the text"):
        holds("${{ github.ref }} == 'x'", SCOPE)


def test_files_are_hashed_by_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("1")
    scope = Scope({}, folder=tmp_path)
    first = evaluate("hashFiles('*.lock')", scope)
    assert len(first) == 64
    assert evaluate("hashFiles('*.txt')", scope) == ""
    (tmp_path / "a.lock").write_text("2")
    assert evaluate("hashFiles('*.lock', 'x')", scope) not in {first, ""}


def test_objects_in_a_text_are_named_by_their_kind() -> None:
    assert (as_text({}), as_text([])) == ("Object", "Array")
