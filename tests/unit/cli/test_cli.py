import errno
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from merit import __version__, artifacts, cli
from merit.cli import sections
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.console import logging
from merit.errors import ConfigError, MeritError, Refused
from merit.process import workspace_lock
from merit.registry import tags
from tests.support.file_locks import is_locked

Call = Callable[..., tuple[int, str, str]]


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(locks, "read_lock", fail)


def _made_of(cause: BaseException) -> BaseException:
    """Return what a module in C makes of an exception while it is imported."""
    error = ImportError("numpy._core.multiarray failed to import")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "ending",
    [
        (MeritError("a.yaml: found x"), 2, "error: a.yaml: found x\n"),
        (Refused("data: 3 violations"), 1, "error: data: 3 violations\n"),
        (ConfigError(["one"]), 2, "error: one\n"),
        (ConfigError(["one", "two"]), 2, "error:\none\ntwo\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing was left half-written; run it again\n"),
        (_made_of(KeyboardInterrupt()), 130, "interrupted: nothing was left half-written; run it again\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "reports/x.json"),
            2,
            "error: reports/x.json: No space left on device; free space or fix its permissions\n",
        ),
        (OSError("odd"), 2, "error: odd; free space or fix its permissions\n"),
        (MeritError("found '\x1b]0;x\x07\u202e\udce9é'"), 2, "error: found '?]0;x???é'\n"),
    ],
    ids=["broken", "refused", "config", "configs", "interrupted", "interrupted in C", "full disk", "odd", "unseen"],
)
@pytest.mark.parametrize(
    "command",
    ["ingest", "validate", "features", "train", "baseline", "evaluate", "package", "gate", "register", "serve"],
)
def test_what_a_person_can_mend_is_told_without_a_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str, ending: tuple[BaseException, int, str]
) -> None:
    error, code, line = ending
    if command in {"train", "register", "evaluate", "package"}:
        # Their rooms import torch or MLflow; that they go through the same group is what matters here.
        for module in ("merit.tracking.mlflow", "merit.training.train", "merit.evaluation.evaluate",
                       "merit.packaging.package", "merit.registry.mlflow_candidates"):  # fmt: skip
            monkeypatch.setitem(sys.modules, module, _Room())
    _raising(monkeypatch, error)
    assert call(command) == (code, "", line)


class _Room:
    def __getattr__(self, name: str) -> object:
        return None


def test_a_fault_of_ours_keeps_its_traceback_and_is_not_taken_for_a_refusal(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raising(monkeypatch, ZeroDivisionError("x"))
    code, out, err = call("ingest")
    assert (code, out) == (2, "")
    assert "ZeroDivisionError: x" in err
    assert err.splitlines()[-1].startswith("error: a fault in merit itself")


@pytest.mark.parametrize("args", [["ingst"], ["serve", "--port", "0"], ["serve", "--port", "x"], ["gate", "--agains"]])
def test_a_wrong_command_line_is_broken(call: Call, args: list[str]) -> None:
    code, _, err = call(*args)
    assert code == 2
    assert "Error: " in err
    assert "Traceback" not in err


def test_the_help_fits_one_screen_and_lists_each_command_once_in_the_order_of_the_path(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("--help")
    assert code == 0
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 80
    listed = [name for section in sections.SECTIONS for name in section.commands]
    assert sorted(listed) == sorted(name for name, command in cli.main.commands.items() if not command.hidden)
    assert [section.title for section in sections.SECTIONS] == [
        "project", "data", "model", "gate", "registry", "environments", "serving",
    ]  # fmt: skip
    names = out.partition("Commands:")[2]
    places = [names.index(f" {name}") for name in ("compose,", "ingest,", "train,", "package,", "gate,", "register,")]
    assert places == sorted(places)
    assert out.endswith("is in `merit workflow`.\n")


def _list_commands(group: click.Group, *parents: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from () if command.hidden else _list_commands(command, *parents, name)
        else:
            yield (*parents, name)


def test_each_commands_help_ends_with_an_example_that_is_a_command_of_it(call: Call) -> None:
    commands = list(_list_commands(cli.main))
    assert {" ".join(each) for each in commands} == set(sections.EXAMPLES)
    for each in commands:
        code, out, _ = call(*each, "--help")
        assert (code, out.splitlines()[-2]) == (0, "Example:")
        example = shlex.split(out.splitlines()[-1])[1:]
        assert tuple(example[: len(each)]) == each
        command: click.Command = cli.main
        for name in each:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        command.make_context(each[-1], example[len(each) :])


def test_a_misspelt_command_is_asked_about(call: Call) -> None:
    assert "No such command 'ingst'. Did you mean 'ingest'?" in call("ingst")[2]
    assert "Did you mean 'revoke'?" in call("keys", "revok")[2]


def test_shells_are_told_the_commands_and_options(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MERIT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "merit reg")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert call()[1].split() == ["plain,register", "plain,registry"]


QUIET = [["--quiet", "compose"], ["compose", "--quiet"], ["compose", "-q"], ["-v", "compose", "-q"]]


@pytest.mark.parametrize("args", QUIET)
def test_quiet_leaves_the_exit_code_and_the_errors(call: Call, conf: Path, args: list[str]) -> None:
    assert call(*args) == (0, "", "")
    assert call("compose", "--check", "--quiet", "seed=8") == (1, "", "")
    code, out, err = call(*args, "seed=x")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_verbose_shows_how_long_a_command_took_and_stages_inherit_it(call: Call, conf: Path) -> None:
    code, out, err = call("compose", "--verbose")
    assert (code, out) == (0, "params.yaml written\n")
    assert re.search(r"^debug: \d+\.\d+ s: merit compose took \d+\.\d+ s$", err, re.MULTILINE)
    assert os.environ[logging.VERBOSITY_VARIABLE] == "verbose"
    assert "merit compose took" in call("compose")[2]


def test_errors_are_lines_of_json_if_that_is_the_log_format(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(logging.FORMAT_VARIABLE, "text")
    monkeypatch.setattr(sys, "argv", ["merit", "--log-format", "json", "ingest"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    record = json.loads(err)
    assert record["message"] == "params.yaml: not found; 'merit compose' writes it"
    assert (record["level"], record["logger"]) == ("error", "merit")


@pytest.mark.parametrize("args", [["--log-format", "xml", "compose"], ["compose", "--log-format", "xml"]])
def test_an_unknown_log_format_is_refused(call: Call, args: list[str]) -> None:
    code, _, err = call(*args)
    assert code == 2
    assert "'xml' is not one of 'text', 'json'" in err


def test_with_json_a_verdict_alone_is_on_standard_output(
    call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    from merit.gate import judge

    def gate(lock: Lock, against: str | None, only: str | None) -> dict[str, Any]:
        print("a library speaks")
        return {"verdict": "fail", "checks": [], "value": float("nan")}

    monkeypatch.setattr(locks, "read_lock", lambda: lock)
    monkeypatch.setattr(judge, "gate", gate)
    for quiet in ([], ["--quiet"]):
        code, out, err = call("gate", "--json", *quiet)
        assert (code, json.loads(out)) == (1, {"verdict": "fail", "checks": [], "value": None})
        assert err == ("" if quiet else "a library speaks\n")


def test_a_run_as_json_has_the_verdict_the_candidate_and_the_report(
    call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    from merit.pipeline import run

    monkeypatch.setattr(run, "run_path", lambda _: run.RunResult({"verdict": "pass", "model": "tiny"}, lock, "1"))
    code, out, err = call("run", "--json")
    report = {"verdict": "pass", "model": "tiny"}
    assert (code, json.loads(out), err) == (0, {"verdict": "pass", "candidate": "1", "report": report}, "")


def test_explain_as_json_has_the_value_and_what_set_it(call: Call, conf: Path) -> None:
    code, out, _ = call("explain", "seed", "seed=8", "--json")
    found = json.loads(out)
    assert (code, found["key"], found["value"], found["set_by"]) == (0, "seed", 8, "command line")
    assert [each["value"] for each in found["overrode"]] == [7]
    keys = {each["key"]: each for each in json.loads(call("explain", "--json")[1])}
    assert keys["seed"]["value"] == 7
    assert keys["seed"]["set_by"].startswith("conf/")
    assert "data" not in keys
    assert "data" in {each["key"] for each in json.loads(call("explain", "--json", "--depth", "1")[1])}


def test_violations_as_json_are_the_stages_report(
    call: Call, monkeypatch: pytest.MonkeyPatch, make_lock: Callable[..., Lock], table: Any
) -> None:
    locks.write_lock(make_lock(lambda values: values["data"]["contract"]["rows"].update(max=9)))
    artifacts.RAW.parent.mkdir()
    table.with_columns(late=table["delay"] >= 10).write_parquet(artifacts.RAW)
    code, out, err = call("validate", "--json")
    assert (code, json.loads(out)) == (1, json.loads(artifacts.DATA_REPORT.read_text()))
    assert json.loads(out)["violations"][0]["allowed"]
    assert err.startswith("error: ")


def test_the_version_is_told(call: Call) -> None:
    assert call("--version") == (0, f"merit, version {__version__}\n", "")


def test_without_a_lock_each_stage_says_what_writes_it(call: Call) -> None:
    assert call("ingest") == (2, "", "error: params.yaml: not found; 'merit compose' writes it\n")


def test_compose_writes_the_lock_once(call: Call, conf: Path) -> None:
    assert call("compose") == (0, "params.yaml written\n", "")
    assert call("compose") == (0, "params.yaml is up to date\n", "")


def test_compose_check_exits_0_without_a_difference_and_1_with_one(call: Call, conf: Path) -> None:
    call("compose")
    code, out, err = call("compose", "--check")  # a source of the project's own is code, which --check doesn't run
    assert (code, out.partition(";")[0], err) == (0, "params.yaml is up to date", "")
    before = artifacts.LOCK.read_text()
    code, out, err = call("compose", "--check", "seed=8")
    assert code == 1
    assert "-seed: 7\n+seed: 8" in out
    assert out.endswith("\n\nparams.yaml is stale; run 'merit compose'\n")
    assert err == ""
    assert artifacts.LOCK.read_text() == before


def test_compose_check_without_a_lock_writes_none(call: Call, conf: Path) -> None:
    assert call("compose", "--check")[0] == 1
    assert not artifacts.LOCK.exists()


def test_a_wrong_override_is_broken_and_leaves_the_lock(call: Call, conf: Path) -> None:
    call("compose")
    before = artifacts.LOCK.read_text()
    code, out, err = call("compose", "trainer.max_epochs=none")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "trainer.max_epochs: found 'none'" in err
    assert artifacts.LOCK.read_text() == before


def test_the_verdict_is_the_exit_code(call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    from merit.gate import judge
    from merit.gate.report import terminal

    monkeypatch.setattr(locks, "read_lock", lambda: lock)
    monkeypatch.setattr(terminal, "print_report", lambda report: None)
    for verdict, code in {"pass": 0, "fail": 1, "inconclusive": 1}.items():
        monkeypatch.setattr(judge, "gate", lambda lock, against, only, v=verdict: {"verdict": v})
        assert call("gate")[0] == code


@pytest.mark.parametrize(("number", "told"), [("1", "candidate 1 in MLflow"), (None, "MLflow doesn't keep these runs")])
def test_a_run_tells_a_candidate_in_mlflow_from_a_version(
    call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock, number: str | None, told: str
) -> None:
    from merit.gate.report import terminal
    from merit.pipeline import run

    monkeypatch.setattr(terminal, "print_report", lambda report: None)
    monkeypatch.setattr(run, "run_path", lambda _: run.RunResult({"verdict": "pass", "model": "tiny"}, lock, number))
    code, out, _ = call("run")
    assert (code, out.splitlines()[1]) == (0, "next:    'merit serve', then call it")
    assert out.startswith("model:   tiny")
    assert f"{told}; 'merit register' on main makes a version of it\n" in out


@pytest.mark.parametrize("registered", [True, False])
def test_a_package_is_served_as_its_version_if_it_is_one(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    lock: Lock,
    make_package: Callable[..., Path],
    registered: bool,
) -> None:
    from merit.serving.server import serve

    make_package(artifacts.PACKAGE)
    version = SimpleNamespace(short_name="v4", commit="c" * 40) if registered else None
    monkeypatch.setattr(tags, "find_package_version", lambda package: version)
    seen = []
    monkeypatch.setattr("merit.config.current_lock.read_current_lock", lambda section: lock)
    monkeypatch.setattr(serve, "serve", lambda how, version, signed, commit: seen.append((how.port, version, commit)))
    assert call("serve", "--port", "3456")[0] == 0
    assert seen == [(3456, *(("v4", "c" * 40) if registered else (None, None)))]


def test_without_a_package_serve_says_what_makes_it(call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    artifacts.write_text(artifacts.REGISTRATION, json.dumps({"package": "sha256:1", "version": "4"}))
    monkeypatch.setattr("merit.config.current_lock.read_current_lock", lambda section: lock)
    code, _, err = call("serve")
    assert code == 2
    assert err.startswith("error: model/manifest.json: not found; 'merit package' makes it")


def test_a_stage_whose_lock_changed_under_it_is_broken(call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    locks.write_lock(lock)

    def change(data: object) -> list[object]:
        assert is_locked(workspace_lock.STAGE_LOCK)
        artifacts.LOCK.write_text("another", encoding="utf-8")
        return []

    monkeypatch.setattr("merit.data.contract.validate", change)
    code, _, err = call("validate")
    assert code == 2
    assert "params.yaml: changed while 'validate' ran with its earlier content; run it again" in err


@pytest.mark.parametrize(
    ("command", "work"), [("pull", "merit.dvc.pull"), ("repro", "merit.pipeline.run.update_stages")]
)
def test_what_changes_outputs_has_the_lock_of_the_run(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str, work: str
) -> None:
    locked = []
    monkeypatch.setattr(work, lambda *_: locked.append(is_locked(workspace_lock.RUN_LOCK)))
    call(command)
    assert locked == [True]


def test_the_baseline_has_a_lock_of_its_own_for_it_runs_beside_another_stage(
    call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    locks.write_lock(lock)
    locked = []

    def fit(lock: Lock) -> int:
        locked.extend(map(is_locked, (workspace_lock.SIDE_STAGE_LOCK, workspace_lock.STAGE_LOCK)))
        return 7

    monkeypatch.setattr("merit.evaluation.baseline.run_baseline", fit)
    assert call("baseline")[:2] == (0, f"{artifacts.BASELINE}: predictions of 7 test rows\n")
    assert locked == [True, False]


def test_the_lock_is_not_written_under_a_run(call: Call, conf: Path) -> None:
    with workspace_lock.lock_run():
        code, _, err = call("compose")
    assert code == 2
    assert "another merit run" in err
    assert not artifacts.LOCK.exists()


def test_who_ends_a_command_by_a_signal_lets_it_end_what_it_began(
    call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    locks.write_lock(lock)
    ended = []

    def validate(data: object) -> list[object]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            ended.append(data)
        return []

    monkeypatch.setattr("merit.data.contract.validate", validate)
    code, _, err = call("validate")
    assert (code, len(ended)) == (130, 1)
    assert err == "interrupted: nothing was left half-written; run it again\n"


@pytest.mark.parametrize("group", [[], ["sweep"], ["registry"], ["keys"], ["workflow"]])
def test_help_cuts_no_sentence_off(group: list[str], call: Call) -> None:
    assert not re.search(r"\w\.\.\.", call(*group, "--help")[1])
