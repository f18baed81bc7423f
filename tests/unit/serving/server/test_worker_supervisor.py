import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from circus.exc import ConflictError

from merit.errors import MeritError
from merit.process.lifetime import STOP_SIGNALS
from merit.serving.server import circus_adapter, worker_supervisor
from tests.support.endpoint import free_port


def test_an_address_that_was_taken_meanwhile_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MeritError, match=rf"^serve: 127\.0\.0\.1:{port} can't be used \(Address already in use\)$"):
            worker_supervisor.run_workers("127.0.0.1", port, 1)


CODE = """
import sys
from merit.serving.server import worker_supervisor

{change}
worker_supervisor.main("127.0.0.1", sys.argv[1], sys.argv[2])
"""
NO_PROCESS = """
def no_process(*args, **named):
    raise OSError(11, "Resource temporarily unavailable")

worker_supervisor.WorkerWatcher._process_class = no_process
"""
SHORT = 'worker_supervisor.bentoml_adapter.WORKER_MODULE = "this"  # a program that ends at once'


def ended(change: str, count: int = 1, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Have workers that are changed minded until that ends."""
    command = [sys.executable, "-c", CODE.format(change=change), str(free_port()), str(count)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)


def test_a_worker_that_can_not_be_started_ends_the_rest_and_is_told() -> None:
    done = ended(NO_PROCESS, count=2)
    assert done.returncode == 2
    *before, last = done.stderr.splitlines()
    assert last == "error: serve: a worker can't be started (above is why), so all have ended"
    assert "Resource temporarily unavailable" in before[-1]


def test_workers_that_end_soon_after_their_start_are_given_up() -> None:
    done = ended(SHORT)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    lost = [json.loads(line) for line in lines if "worker_lost" in line]
    assert [each["why"] for each in lost] == ["exit code 0"] * circus_adapter.MAX_EARLY_EXITS
    assert lines[-1] == (
        f"error: serve: the workers end soon after their start, {circus_adapter.MAX_EARLY_EXITS} in a row (above is "
        "why)"
    )


def test_a_folder_for_temporary_files_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    (deep := tmp_path / ("d" * 100)).mkdir()
    done = ended("", TMPDIR=str(deep))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("a shorter TMPDIR helps where a path is too long")
    assert list(deep.iterdir()) == []


def test_a_worker_whose_minder_was_killed_before_it_could_hear_of_it_ends() -> None:
    code = f"from merit.process.lifetime import end_with_parent; end_with_parent({os.getpid()}); print('alive')"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"alive\n"
    code = "from merit.process.lifetime import end_with_parent; end_with_parent(1); print('alive')"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_what_tells_it_to_end_while_it_starts_is_heard_once_it_can_end_as_it_should(number: signal.Signals) -> None:
    change = (
        "import os, signal\nfrom merit.process.lifetime import STOP_SIGNALS\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)\nos.kill(os.getpid(), {})"
    )
    done = ended(change.format(int(number)))
    assert (done.returncode, done.stderr.count("listening on")) == (0, 1)
    assert "Traceback" not in done.stderr


def test_at_the_end_connections_that_were_taken_are_answered_before_the_others_are_refused() -> None:
    minder, done = object.__new__(circus_adapter.WorkerSupervisor), list[str]()
    sockets, watcher = Mock(), circus_adapter.WorkerWatcher("workers", "true")
    sockets.values.return_value = [Mock(listen=lambda backlog: done.append(f"listen {backlog}"))]
    sockets.close_all = lambda: done.append("close")
    minder._stop_requested, minder.sockets, minder.watchers, minder.loop = False, sockets, [watcher], Mock()
    minder.loop.call_later = lambda seconds, what: done.append(f"after {seconds}") or what()
    tries = iter([ConflictError, None])
    minder.stop = lambda: done.append("stop") if (error := next(tries)) is None else _raise(error)
    minder._begin_shutdown()
    assert done == [
        "listen 0",
        f"after {circus_adapter.DRAIN_SECONDS}",
        f"after {circus_adapter.STOP_RETRY_S}",
        "stop",
        "close",
    ]
    assert watcher.is_shutting_down


def _raise(error: type[Exception]) -> None:
    raise error
