from merit.errors import ConfigError, MeritError, Refused


def test_broken_exits_with_2_and_refused_with_1() -> None:
    assert (MeritError("x").exit_code, ConfigError(["x"]).exit_code, Refused("x").exit_code) == (2, 2, 1)


def test_a_config_error_shows_every_problem_on_its_own_line() -> None:
    error = ConfigError(["first", "second"])
    assert str(error) == "first\nsecond"
    assert error.problems == ["first", "second"]
