import pytest

from merit.gate.checks.data.findings import format_worst


@pytest.mark.parametrize(
    ("items", "text"), [("", ""), ("ab", "a, b"), ("abc", "a, b, c"), ("abcde", "a, b, c and 2 more")]
)
def test_the_worst_three_are_named_and_the_others_counted(items: str, text: str) -> None:
    assert format_worst(list(items)) == text
