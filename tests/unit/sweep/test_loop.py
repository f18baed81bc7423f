import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit.config import lock as locks
from merit.config.compose import compose
from merit.errors import Refused
from merit.sweep import loop, ownership, plan, record
from merit.sweep.search.study import Study
from merit.sweep.trials import prepare, process, supervise
from tests.support.file_locks import is_locked

GONE = 2**22 + 1
"""A process that Linux never has."""


class Crew:
    """Ends each trial at once, as done."""

    is_batch, width = False, 1

    def __init__(self) -> None:
        self.running: list[Path] = []

    def count_free_slots(self) -> int:
        return 1 - len(self.running)

    def start_trials(self, folders: list[Path]) -> None:
        self.running = folders
        for folder in folders:
            record.update_trial_json(folder, state="done", values={"log_loss": 0.5}, started=time.time())

    def pop_ended(self) -> list[Path]:
        ended, self.running = self.running, []
        return ended

    def kill_running(self, reason: str) -> None:
        """Run nothing."""

    def pop_running(self) -> list[Path]:
        return []


@pytest.fixture
def begun(conf: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a sweep of two trials that was resumed, and the folder of its first, which another process began."""
    teller: Any = SimpleNamespace(log_trial=lambda *_: None, pop_runs=dict, end_sweep=lambda _: {})
    monkeypatch.setattr(loop.page, "write_report", lambda _: Path("reports/sweep.html"))
    monkeypatch.setattr(loop.SweepLoop, "_describe_start", lambda _: "sweep one")
    locks.write_lock(compose())
    made = plan.make_plan(["sweep.name=one", "seed=1,2"])
    folder = record.SWEEPS / "one"
    record.artifacts.write_json(folder / record.SWEEP_JSON, plan.build_sweep_json(made, "", {}))
    study = Study(made, folder, 0)
    suggestion = study.ask()
    assert suggestion is not None
    place = prepare.prepare_trial(folder, made, 0, suggestion.point, f"{socket.gethostname()}.{GONE}")
    made = plan.make_plan(["sweep.resume=one"])
    owner = ownership.Owner(folder)
    yield loop.SweepLoop(made, folder, study, Crew(), owner, sweep_logger=teller), place  # type: ignore[arg-type]
    owner.withdraw()
    study.close()


def _states(place: Path) -> list[str]:
    return [trial.state for trial in record.read_trials(place.parents[1])]


def test_a_trial_that_is_made_says_how_many_epochs_it_may_take(begun: Any) -> None:
    assert record.read_trial(begun[1]).max_epochs == compose().trainer.max_epochs


def test_a_trial_whose_process_was_killed_before_it_said_where_it_is_is_done_again_at_once(begun: Any) -> None:
    driven, place = begun
    (place / supervise.HEARTBEAT_FILE).write_text(f"{socket.gethostname()} {GONE}")
    driven.run()
    assert _states(place) == ["done", "done"]


def test_a_trial_of_an_earlier_process_is_waited_for_and_done_again_if_it_dies(
    begun: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driven, place = begun
    (place / supervise.HEARTBEAT_FILE).write_text("elsewhere 7")
    until = time.monotonic() + 0.2  # the other trial has ended by then
    monkeypatch.setattr(supervise, "is_alive", lambda _: time.monotonic() < until)
    driven.run()
    assert "trial   0  still runs, begun by an earlier process: waiting for it" in capsys.readouterr().out
    assert _states(place) == ["done", "done"]


def test_the_result_of_a_trial_that_an_earlier_process_ends_is_taken(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven, place = begun
    (place / supervise.HEARTBEAT_FILE).write_text("elsewhere 7")
    monkeypatch.setattr(supervise, "is_alive", lambda _: True)
    driven._checks_unfinished = True
    driven._start_trials()
    assert driven._external == {0}
    driven._poll_trials()
    assert (driven._external, driven._study.list_unfinished()) == ({0}, {0})
    record.update_trial_json(place, state="done", values={"log_loss": 0.25})
    driven._poll_trials()
    assert (driven._external, driven._study.list_unfinished()) == (set(), set())
    assert driven._trials[0].values == {"log_loss": 0.25}


def test_trials_are_claimed_under_the_lock_of_the_sweep(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driven, place = begun
    ask, locked = driven._study.ask, []

    def observe() -> Any:
        locked.append(is_locked(place.parents[1] / ownership.CLAIM_LOCK_FILE))
        return ask()

    monkeypatch.setattr(driven._study, "ask", observe)
    driven.run()
    assert set(locked) == {True}


def test_what_another_process_leaves_while_the_last_trial_runs_is_done_too(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven, place = begun
    answers = iter([True, True])
    monkeypatch.setattr(ownership, "is_active", lambda *_: next(answers, False))
    driven.run()
    assert _states(place) == ["done", "done"]


def test_a_sweep_says_which_other_process_goes_on(begun: Any, capsys: pytest.CaptureFixture[str]) -> None:
    driven, place = begun
    file = record.SWEEPS / "one" / ownership.OWNERS_FOLDER / "elsewhere.7"
    file.touch()
    record.update_trial_json(place, owner="elsewhere.7")
    driven.run()
    assert "still running: 0, by elsewhere.7 (machine and process)" in capsys.readouterr().out
    os.utime(file, (0, 0))
    with pytest.raises(Refused, match=r"one: 0: ended without a final state; 'merit train -m sweep.resume=one' runs"):
        driven._report_owners([record.read_trial(place)])


def test_a_trial_of_two_devices_takes_the_room_of_two(conf: Path) -> None:
    how = compose(["trainer=ddp"]).trainer
    assert loop.count_threads(how) == 2
    assert loop.count_threads(how.model_copy(update={"accelerator": "gpu"})) == 1


def test_a_damaged_trial_is_done_again_and_no_other(begun: Any, capsys: pytest.CaptureFixture[str]) -> None:
    driven, place = begun
    record.update_trial_json(place, state="done", values={"log_loss": 0.5}, started=time.time())
    driven._study.tell(0, "done", {"log_loss": 0.5}, {})
    (place / record.TRIAL_JSON).write_text("{")
    driven.run()
    assert "trial   0  its trial.json is damaged: it is trained again" in capsys.readouterr().out
    assert _states(place) == ["done", "done"]
    assert driven._started_at == {}


def _allow(driven: Any, **settings: Any) -> None:
    driven._plan = replace(driven._plan, settings=driven._plan.settings.model_copy(update=settings))


def _second(driven: Any) -> Path:
    """Return the folder of the second trial, begun."""
    suggestion = driven._study.ask()
    assert suggestion is not None
    folder = driven._folder
    return prepare.prepare_trial(folder, driven._plan, suggestion.number, suggestion.point, driven._owner.name)


def test_a_sweep_is_given_up_after_more_failures_than_are_allowed(begun: Any) -> None:
    driven, first = begun
    _allow(driven, max_failures=1)
    record.update_trial_json(first, state="failed", error="one")
    driven._record_result(0)
    assert driven._stop_reason is None
    record.update_trial_json(_second(driven), state="killed", error="two")
    driven._record_result(1)
    assert driven._stop_reason == "2 trials failed, and sweep.max_failures is 1; the last: two"
    assert driven._study.list_unfinished() == set()
    with pytest.raises(Refused, match=r"^sweep one: given up: 2 trials failed"):
        driven.run()


def test_the_first_failure_ends_the_trials_that_run_where_that_is_asked(begun: Any) -> None:
    driven, first = begun
    second = _second(driven)
    driven._executor.running = [second]
    record.update_trial_json(first, state="failed", error="one")
    driven._record_result(0)
    assert driven._stop_reason is None  # nobody asked
    _allow(driven, fail_fast=True)
    driven._record_result(0)
    assert driven._stop_reason == "trial 0 failed: one (sweep.fail_fast)"
    assert (second / process.KILL_FILE).read_text() == supervise.INTERRUPTED
    driven._executor.running = []


def test_a_trial_that_is_pruned_or_done_is_no_failure(begun: Any) -> None:
    driven, first = begun
    _allow(driven, fail_fast=True, max_failures=0)
    logged = []
    driven._sweep_logger.log_trial = lambda folder, payload: logged.append((folder, payload["state"]))
    record.update_trial_json(first, state="running")
    driven._record_result(0)
    assert logged == []
    record.update_trial_json(first, state="pruned")
    for run in (None, "abc"):  # as a process that goes on with the sweep finds it
        record.update_trial_json(first, run=run)
        driven._record_result(0)
        assert logged == [(first, "pruned")]
    record.update_trial_json(_second(driven), state="done", values={"log_loss": 0.5})
    driven._record_result(1)
    assert driven._stop_reason is None


def test_a_trial_is_ended_when_its_process_has_run_for_longer_than_the_limit(begun: Any) -> None:
    driven, place = begun
    _allow(driven, timeout_seconds=60)
    for seconds in (None, 50.0, 70.0):  # one that waits in a queue hasn't run
        record.update_trial_json(place, started=seconds and time.time() - seconds)
        driven._check_progress(0)
        assert (place / process.KILL_FILE).exists() == (seconds == 70.0)
    assert (place / process.KILL_FILE).read_text() == "took longer than sweep.timeout_seconds, 60 s"


def test_each_epoch_is_reported_once_and_a_trial_that_falls_behind_is_told_to_stop(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven, place = begun
    reported = []

    def report(number: int, epoch: int, metrics: dict[str, float]) -> bool:
        reported.append((number, epoch, metrics["validation_log_loss"]))
        return epoch == 2

    monkeypatch.setattr(driven._study, "report", report)
    lines = ["epoch,validation_log_loss", "0,0.7", "1,0.6", "2,0.5"]
    for end in (3, 3, 4):
        (place / record.HISTORY_CSV).write_text("\n".join(lines[:end]) + "\n", encoding="utf-8")
        driven._check_progress(0)
        assert (place / process.STOP_FILE).exists() == (end == 4)
    assert reported == [(0, 0, 0.7), (0, 1, 0.6), (0, 2, 0.5)]
    assert driven._trials[0].epochs == 3


def test_a_sweep_without_a_trial_that_is_done_is_refused_with_the_last_error(begun: Any) -> None:
    driven, first = begun
    for number, folder in enumerate((first, _second(driven))):
        record.update_trial_json(folder, state="failed", error=f"error {number}")
    with pytest.raises(Refused, match=r"^sweep one: none of 2 trials is done; the last: error 1$"):
        driven.run()
