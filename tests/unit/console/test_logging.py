import json
import logging as standard
from collections.abc import Iterator

import pytest

from merit.console import logging, output
from merit.console.logging import show_phase


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log as commands do, and put back what was before."""
    for variable in (logging.VERBOSITY_VARIABLE, logging.FORMAT_VARIABLE):
        monkeypatch.setenv(variable, "")
    before = logging.logger.handlers[:], logging.logger.level, logging.logger.propagate
    logging.configure()
    yield
    logging.logger.handlers[:], logging.logger.level, logging.logger.propagate = before


@pytest.mark.parametrize(("environment", "shown"), [({"TTY_COMPATIBLE": "1"}, "gate: [loading] ...\n"), ({}, "")])
def test_a_phase_is_shown_on_standard_error_of_a_terminal_alone(
    environment: dict[str, str], shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    show_phase("gate: [loading]")
    assert capsys.readouterr() == ("", shown)


def test_all_phases_are_shown_if_all_is_to_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    logging.configure("verbose")
    show_phase("gate: loading")
    assert capsys.readouterr() == ("", "gate: loading ...\n")


def test_notes_stand_between_the_lines_of_a_result_and_warnings_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    logging.show_line("next:    %s")
    logging.logger.warning("left:    one")
    logging.logger.debug("not shown")
    logging.logger.error("x: found y")
    logging.logger.error("%s", "x: found y\nz")
    assert capsys.readouterr() == ("next:    %s\n", "left:    one\nerror: x: found y\nerror:\nx: found y\nz\n")


def test_quiet_shows_warnings_and_errors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("quiet")
    assert logging.is_quiet()
    show_phase("gate")
    logging.show_line("next:    this")
    logging.logger.warning("left:    one")
    assert capsys.readouterr() == ("", "left:    one\n")


def test_each_record_is_a_line_of_json_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    logging.configure(log_format="json")
    show_phase("gate: loading")
    logging.show_line("next:    this")
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [(each["level"], each["logger"], each["message"]) for each in records] == [
        ("info", "merit", "gate: loading"),
        ("info", "merit", "next:    this"),
    ]
    assert all({"time", "pid"} <= set(each) for each in records)


def test_dvcs_loggers_take_the_level_and_the_json_format(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "merit-test-dvc"
    monkeypatch.setattr(logging, "DVC_LOGGERS", (name,))
    logging.configure("verbose", "json")
    logging.adopt_dvc_loggers()
    assert standard.getLogger(name).level == standard.DEBUG
    assert standard.getLogger(name).handlers == logging.logger.handlers


def test_a_result_is_printed_where_the_rest_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess

    with output.silence():
        print("python")
        subprocess.run(["echo", "a child"], check=True)
        output.print_result("é")
        with output.reserve_stdout():
            print("still silent")
    with output.reserve_stdout():
        subprocess.run(["echo", "a child"], check=True)
        output.print_json({"x": [float("inf"), (1.5, None)]})
    with output.reserve_stdout(False):
        print("as ever")
    out, err = capfd.readouterr()
    assert out == 'é\n{\n  "x": [\n    null,\n    [\n      1.5,\n      null\n    ]\n  ]\n}\nas ever\n'
    assert err == "a child\n"
