"""The watchdog ends what a killed gate has left, gently first, and nothing of a gate that cleaned up itself."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merit.gate.checks.model import watchdog

PROCESS = """
import signal, sys, time
def end(*_):
    {end}
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(1)
"""
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(workdir: Path) -> Iterator[Start]:
    """Start a process in a group of its own that does so much when it is to end; all end after the test."""
    started = []

    def run(end: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", "-S", "-c", PROCESS.format(end=end)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        threading.Thread(target=process.wait).start()  # a child that nobody waits for counts as running
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _watch(monkeypatch: pytest.MonkeyPatch, *lines: object) -> None:
    """Run the watchdog on lines from a gate that ends then."""
    Path("bento").mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "stdin", [f"{line}\n" for line in lines])
    watchdog.main("bento")


def test_groups_of_a_killed_gate_may_end_by_themselves_and_their_folder_goes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, later = start("sys.exit()"), start("time.sleep(0.1); open('clean', 'w').close(); sys.exit()")
    gone = start("sys.exit()")
    os.killpg(gone.pid, 9)
    gone.wait()
    _watch(monkeypatch, at_once.pid, later.pid, gone.pid)
    assert (at_once.wait(), later.wait()) == (0, 0)
    assert Path("clean").exists(), "it was killed while it cleaned up"
    assert not Path("bento").exists()


def test_a_group_that_does_not_end_by_itself_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STOP_TIMEOUT_S", 0.05)
    stubborn = start("pass")
    _watch(monkeypatch, stubborn.pid)
    assert stubborn.wait() == -9


def test_a_gate_that_has_cleaned_up_leaves_nothing_to_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    other = start("sys.exit()")
    _watch(monkeypatch, other.pid, "done")
    assert other.poll() is None
    assert Path("bento").exists()
    assert watchdog._is_alive(other.pid) is True
    assert other.poll() is None
    os.killpg(other.pid, 9)
    other.wait()
    assert watchdog._is_alive(other.pid) is False
