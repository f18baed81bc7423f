"""BentoML's workers, started and minded by circus, as `bentoml serve` does.

`bentoml serve` loads all of BentoML and the service to learn what is known here, before the first worker loads them
again; without that the first answer comes a third sooner.

Usage: python -m merit.serving.server.workers HOST PORT COUNT, with the signals that end it blocked until
it can take them.
"""

import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import zmq
from circus.arbiter import Arbiter
from circus.exc import ConflictError
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from merit.console.json_log import write
from merit.errors import MeritError
from merit.process.lifetime import ENDS_WITH_PARENT, STOPS
from merit.serving.observability.counts import place

SERVICE = "merit.serving.service:Predictor"
WORKER = "_bentoml_impl.worker.service"
"""BentoML's own program for one worker: it serves the socket that it is handed."""
BACKLOG = 2048
GRACE_SECONDS = 86_400.0
"""How long a worker has to end: each request in hand is bounded already, and so is what waits to be written."""
CHECK_SECONDS = 0.5
"""How often it is looked whether the workers live."""
SHORT_SECONDS = 30.0
"""A worker that has lived so long could serve."""
TRIES = 5
"""Workers in each one's place that may end before that, where no other serves either."""
PAUSE_SECONDS, LONGEST_PAUSE = 0.1, 30.0
"""After each worker in a row that ended soon the next waits twice as long, from the first of these to the second,
while another serves."""
LAST_SECONDS = 0.3
"""How long workers still take connections that the system has taken for them: resending what it dropped takes 0.2."""
AGAIN_SECONDS = 0.05
"""When to end is tried again, where circus was about something else: it would forget that it was told to."""


class Workers(Watcher):  # type: ignore[misc]  # circus has no types
    """Workers that are given up where none can be started, or none stays; circus would go on without any.

    Attributes:
        fault: why they were given up, if they were.
        is_ending: whether they may end; a signal may reach them before what minds them ends them.
    """

    fault = ""
    is_ending = False
    _short = 0
    _due = 0.0

    async def spawn_processes(self) -> None:
        """Start those that lack, or later, where the last ones ended soon; circus itself would end if there is none."""
        if not self.is_ending and (time.monotonic() >= self._due or not self.processes):
            await super().spawn_processes()

    def spawn_process(self, *args: Any, **named: Any) -> Any:
        """Start one; False if that can't be done."""
        started = super().spawn_process(*args, **named)
        if started is False:
            self._give_up("a worker can't be started (above is why), so all have ended")
        return started

    def reap_process(self, pid: int, status: int | None = None) -> None:
        """Take note that one has ended, and say so if it was not told to."""
        ended = self.processes.get(pid)
        super().reap_process(pid, status)
        if ended is None or self.is_ending or self.is_stopping() or self.is_stopped():
            return
        code = ended.returncode() if status is None else os.waitstatus_to_exitcode(status)
        write({"level": "error", "event": "worker_lost", "worker": pid, "why": _why(code)})
        self._short = self._short + 1 if ended.age() < SHORT_SECONDS else 0
        self._due = time.monotonic() + min(PAUSE_SECONDS * 2**self._short, LONGEST_PAUSE) if self._short else 0.0
        serving = any(each.age() >= SHORT_SECONDS for each in self.processes.values())
        if self._short >= TRIES * self.numprocesses and not serving:
            self._give_up(f"the workers end soon after their start, {self._short} in a row (above is why)")

    def _give_up(self, fault: str) -> None:
        if not self.fault:
            self.fault = fault
            os.kill(os.getpid(), signal.SIGTERM)


def _why(code: int | None) -> str:
    """Return how a process has ended, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"


class Minder(Arbiter):  # type: ignore[misc]  # circus has no types
    """What minds the workers; it ends at the first signal that says so, whatever it is about.

    Args:
        told: said once it listens.
        *args, **named: of circus's own.
    """

    def __init__(self, told: str, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._told, self._ends = told, False

    def initialize(self) -> None:
        """Listen, and take signals from then on."""
        super().initialize()
        for each in STOPS:
            signal.signal(each, lambda *_: self.loop.add_callback_from_signal(self._end))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        print(self._told, file=sys.stderr)

    def _end(self) -> None:
        """Have the system take no more connections, and end soon after: till then workers take those that there are."""
        for watcher in self.watchers:
            watcher.is_ending = True
        for each in self.sockets.values():
            each.listen(0)
        self.loop.call_later(LAST_SECONDS, self._end_workers)

    def _end_workers(self) -> None:
        if self._ends:
            return
        try:
            self.stop()
            self._ends = True
            self.sockets.close_all()  # else connections are taken until the last worker has ended, and then reset
        except ConflictError:
            self.loop.call_later(AGAIN_SECONDS, self._end_workers)


def main(host: str, port: str, count: str) -> None:
    """Serve; say in a line why that can't be."""
    try:
        run(host, int(port), int(count))
    except MeritError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def run(host: str, port: int, count: int) -> None:
    """Serve by so many workers until the process is told to end; a worker that dies is replaced.

    Raises:
        MeritError: the address can't be listened on, or no worker can be started or stays.
    """
    try:
        room = Path(tempfile.mkdtemp(prefix="merit-serve-"))
    except OSError as error:
        raise MeritError(f"serve: there is no folder for temporary files ({error.strerror or error})") from error
    args = ["-m", WORKER, SERVICE, "--fd", "$(circus.sockets.http)", "--worker-id", "$(CIRCUS.WID)"]
    counts = ""
    try:
        counts = tempfile.mkdtemp(prefix="merit-serve-", dir=place())
        workers = Workers(
            "workers",
            shlex.quote(sys.executable),
            [*args, "--backlog", str(BACKLOG)],
            numprocesses=count,
            copy_env=True,
            env={"PROMETHEUS_MULTIPROC_DIR": counts, ENDS_WITH_PARENT: str(os.getpid())},
            use_sockets=True,
            stop_children=True,
            graceful_timeout=GRACE_SECONDS,
        )
        kind, shown = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
        listening = CircusSocket("http", host, port, family=kind, backlog=BACKLOG)
        control, events = (f"ipc://{room}/{name}" for name in ("control", "events"))  # of this user alone, unlike ports
        told = f"listening on http://{shown}:{port} (Ctrl+C ends it)"
        failed = (
            Minder(told, [workers], control, events, check_delay=CHECK_SECONDS, sockets=[listening]).start().exception()
        )
        if workers.fault:
            raise MeritError(f"serve: {workers.fault}")
        if failed is not None:
            raise failed
    except zmq.ZMQError as error:  # of files below `room`
        raise MeritError(f"serve: {error}; a shorter TMPDIR helps where a path is too long") from error
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        for each in (room, counts):
            shutil.rmtree(each, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
