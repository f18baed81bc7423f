import json
import logging as standard
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from rich.console import Console

from merit import artifacts
from merit.config.composition import yaml_files
from merit.console import logging, output
from merit.console.logging import show_phase


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log as commands do, and put back what was before."""
    for variable in (logging.VERBOSITY_VARIABLE, logging.FORMAT_VARIABLE):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # JSON replaces it
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


def test_warnings_and_other_lines_on_standard_error_become_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    logging.configure(log_format="json")
    logging.configure(log_format="json")  # the group and its command do
    print("x.py:7: UserWarning: old\n  old()", file=sys.stderr)
    print("a library's line ", end="", file=sys.stderr)
    print("in two parts", file=sys.stderr)
    click.echo("Usage: merit", err=True)
    records = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    messages = [each["message"] for each in records]
    assert messages[0] == "x.py:7: UserWarning: old"
    assert messages[-2:] == ["a library's line in two parts", "Usage: merit"]
    assert {(each["level"], each["logger"]) for each in records} == {("info", "stderr")}


def test_a_bar_and_a_last_line_that_nothing_ends_become_json_too() -> None:
    code = (
        "import sys; from merit.console import logging; logging.configure(log_format='json'); "
        "sys.stderr.write('10 %\\r20 %\\rthe end')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in ended.stderr.splitlines()] == ["10 %", "20 %", "the end"]


@pytest.mark.parametrize("log_format", logging.FORMATS)
def test_a_fault_is_logged_with_its_traceback(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    logging.configure(log_format=log_format)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.logger.exception("a fault")
    err = capfd.readouterr().err
    if log_format == "text":
        assert err.startswith("Traceback")
        assert err.endswith("ZeroDivisionError: division by zero\nerror: a fault\n")
    else:
        record = json.loads(err)
        assert (record["message"], record["traceback"].startswith("Traceback")) == ("a fault", True)


@pytest.mark.parametrize(
    ("settings", "shown"), [({}, True), ({"verbosity": "quiet"}, False), ({"log_format": "json"}, False)]
)
def test_a_bar_is_drawn_on_a_terminal_unless_quiet_or_json(settings: dict[str, str], shown: bool) -> None:
    logging.configure(**settings)
    assert logging.shows_bars(Console(force_terminal=True)) is shown
    assert not logging.shows_bars(Console(force_terminal=False))


def test_the_environment_gives_settings_and_what_it_has_wrong_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logging.VERBOSITY_VARIABLE, "loud")
    monkeypatch.setenv(logging.FORMAT_VARIABLE, "json")
    assert logging.read_environment() == {"log_format": "json"}


def test_an_option_reaches_the_stages_though_the_environment_has_another_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(logging.VERBOSITY_VARIABLE, "quiet")
    monkeypatch.setenv(logging.FORMAT_VARIABLE, "json")
    logging.configure("normal", "text")
    assert logging.read_environment() == {"verbosity": "normal", "log_format": "text"}


def test_verbose_names_the_files_that_are_read_and_written(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("verbose")
    artifacts.write_json(Path("reports/x.json"), {})
    artifacts.read_json(Path("reports/x.json"), "gate")
    yaml_files.read_file(Path("reports/x.json"))
    lines = [line.partition(" s: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["writes reports/x.json", "reads reports/x.json", "reads reports/x.json"]


def test_dvcs_loggers_take_the_level_and_the_json_format(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "merit-test-dvc"
    monkeypatch.setattr(logging, "DVC_LOGGERS", (name,))
    logging.configure("verbose", "json")
    logging.adopt_dvc_loggers()
    assert standard.getLogger(name).level == standard.DEBUG
    assert standard.getLogger(name).handlers == logging.logger.handlers


def test_a_result_is_printed_where_the_rest_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
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
    logging.configure(log_format="json")
    with output.reserve_stdout():
        subprocess.run(["echo", "a stage's result, where all is JSON"], check=True)
        print("python")
    out, err = capfd.readouterr()
    assert out == 'é\n{\n  "x": [\n    null,\n    [\n      1.5,\n      null\n    ]\n  ]\n}\nas ever\n'
    child, python = err.splitlines()
    assert (child, json.loads(python)["message"]) == ("a child", "python")
