import json
from collections.abc import Callable

import pytest

from merit.errors import MAX_SHOWN_PROBLEMS, ConfigError, MeritError, Problem, ProjectCodeError, Refused


def test_broken_exits_with_2_and_refused_with_1() -> None:
    assert (MeritError("x").exit_code, ConfigError(["x"]).exit_code, Refused("x").exit_code) == (2, 2, 1)


def test_a_config_error_shows_every_problem_on_its_own_line() -> None:
    error = ConfigError(["first", "second"])
    assert str(error) == "first\nsecond"
    assert error.problems == ["first", "second"]


@pytest.mark.parametrize("fault", [str, lambda place: Problem("a.yaml", f"k{place}", "unknown key")])
def test_faults_past_a_bound_are_counted_and_not_shown(fault: Callable[[int], str | Problem]) -> None:
    error = ConfigError([fault(place) for place in range(MAX_SHOWN_PROBLEMS + 1234)])
    *shown, last = str(error).splitlines()
    assert (len(error.problems), last) == (MAX_SHOWN_PROBLEMS + 1234, "and 1,234 more")
    assert len(shown) <= MAX_SHOWN_PROBLEMS + 2


def _fail() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        raise KeyError("no\nkey") from error


def test_an_error_of_another_is_told_with_its_own_frames_alone() -> None:
    with pytest.raises(KeyError) as caught:
        _fail()
    told = ProjectCodeError("mymodels.f", caught.value, lambda file: file.endswith("json/decoder.py"))
    head, *rest = str(told).splitlines()
    assert told.exit_code == 2
    assert head == r"mymodels.f failed: KeyError: 'no\nkey'"
    assert not any(__file__ in line or "json/__init__.py" in line for line in rest)
    assert any("json/decoder.py" in line for line in rest)
    assert rest[-1] == r"KeyError: 'no\nkey'"
