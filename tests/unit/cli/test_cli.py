import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from merit import __version__, artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError, Refused
from merit.process import workspace_lock
from merit.registry import tags

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


def test_the_commands_are_listed_in_the_order_of_the_path(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    commands = ["compose", "ingest", "validate", "features", "train", "evaluate", "package", "gate", "register"]
    places = [out.index(f"\n  {command} ") for command in commands]
    assert places == sorted(places)


def test_the_version_is_told(call: Call) -> None:
    assert call("--version") == (0, f"merit, version {__version__}\n", "")


def test_without_a_lock_each_stage_says_what_writes_it(call: Call) -> None:
    assert call("ingest") == (2, "", "error: params.yaml: not found; 'merit compose' writes it\n")


def test_compose_writes_the_lock_once(call: Call, conf: Path) -> None:
    assert call("compose") == (0, "params.yaml written\n", "")
    assert call("compose") == (0, "params.yaml is up to date\n", "")


def test_compose_check_exits_0_without_a_difference_and_1_with_one(call: Call, conf: Path) -> None:
    call("compose")
    assert call("compose", "--check") == (0, "params.yaml is up to date\n", "")
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
    monkeypatch.setattr(locks, "read_current_lock", lambda section: lock)
    monkeypatch.setattr(serve, "serve", lambda how, version, signed, commit: seen.append((how.port, version, commit)))
    assert call("serve", "--port", "3456")[0] == 0
    assert seen == [(3456, *(("v4", "c" * 40) if registered else (None, None)))]


def test_without_a_package_serve_says_what_makes_it(call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    artifacts.write_text(artifacts.REGISTRATION, json.dumps({"package": "sha256:1", "version": "4"}))
    monkeypatch.setattr(locks, "read_current_lock", lambda section: lock)
    code, _, err = call("serve")
    assert code == 2
    assert err.startswith("error: model/manifest.json: not found; 'merit package' makes it")


def test_a_stage_whose_lock_changed_under_it_is_broken(call: Call, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    locks.write_lock(lock)

    def change(data: object) -> list[object]:
        artifacts.LOCK.write_text("another", encoding="utf-8")
        return []

    monkeypatch.setattr("merit.data.contract.validate", change)
    code, _, err = call("validate")
    assert code == 2
    assert "params.yaml: changed while 'validate' ran with its earlier content; run it again" in err


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
