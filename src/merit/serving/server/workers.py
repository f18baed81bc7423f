"""Starts and supervises BentoML's workers with circus, as `bentoml serve` does.

`bentoml serve` first loads BentoML and the service to learn settings that are known here, and each worker loads them
again; without that step the first response comes a third sooner.

Usage: python -m merit.serving.server.workers HOST PORT COUNT, started with the stop signals blocked; it unblocks them
once it can handle them.
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
"""BentoML's program for one worker, which serves an inherited socket."""
BACKLOG = 2048
GRACE_SECONDS = 86_400.0
"""Shutdown time limit of a worker; practically none, because requests in flight and queue flushes have their own."""
CHECK_SECONDS = 0.5
"""Interval between checks that the workers are alive."""
SHORT_SECONDS = 30.0
"""Age from which a worker counts as having started successfully."""
TRIES = 5
"""Consecutive early exits allowed per worker slot while no other worker serves."""
PAUSE_SECONDS, LONGEST_PAUSE = 0.1, 30.0
"""Bounds of the restart delay in seconds, which doubles with each consecutive early exit."""
LAST_SECONDS = 0.3
"""How long workers still accept connections queued by the kernel: retransmission of a dropped packet takes 0.2 s."""
AGAIN_SECONDS = 0.05
"""Retry interval of a stop that circus rejected because another command was running."""


class Workers(Watcher):  # type: ignore[misc]  # circus has no types
    """The workers of a server; stops the server if they can't be started or keep exiting, where circus would go on.

    Attributes:
        fault: why the server was stopped, "" if it wasn't.
        is_ending: whether exits are expected; a stop signal may reach workers before the supervisor stops them.
    """

    fault = ""
    is_ending = False
    _short = 0
    _due = 0.0

    async def spawn_processes(self) -> None:
        """Start missing workers after the restart delay; at once if none is left, because circus would stop then."""
        if not self.is_ending and (time.monotonic() >= self._due or not self.processes):
            await super().spawn_processes()

    def spawn_process(self, *args: Any, **named: Any) -> Any:
        """Start one worker; return False if that fails."""
        started = super().spawn_process(*args, **named)
        if started is False:
            self._give_up("a worker can't be started (above is why), so all have ended")
        return started

    def reap_process(self, pid: int, status: int | None = None) -> None:
        """Handle the exit of a worker: log an unexpected one, and stop the server after too many early exits."""
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
    """Describe the exit code of a process."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"


class Minder(Arbiter):  # type: ignore[misc]  # circus has no types
    """Supervises the workers; shuts down at the first stop signal, even while circus runs another command.

    Args:
        told: line printed once the supervisor listens.
        *args, **named: arguments of circus's Arbiter.
    """

    def __init__(self, told: str, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._told, self._ends = told, False

    def initialize(self) -> None:
        """Open the sockets, then handle stop signals."""
        super().initialize()
        for each in STOPS:
            signal.signal(each, lambda *_: self.loop.add_callback_from_signal(self._end))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        print(self._told, file=sys.stderr)

    def _end(self) -> None:
        """Stop accepting new connections; stop the workers after they have taken those already queued."""
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
            self.sockets.close_all()  # else the kernel accepts connections until the last worker exits, and resets them
        except ConflictError:
            self.loop.call_later(AGAIN_SECONDS, self._end_workers)


def main(host: str, port: str, count: str) -> None:
    """Serve, or print why that fails and exit."""
    try:
        run(host, int(port), int(count))
    except MeritError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def run(host: str, port: int, count: int) -> None:
    """Serve with `count` workers until a stop signal; a worker that exits is replaced.

    Raises:
        MeritError: the address can't be used, or the workers can't be started or keep exiting.
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
        control, events = (f"ipc://{room}/{name}" for name in ("control", "events"))  # private, unlike ports
        told = f"listening on http://{shown}:{port} (Ctrl+C ends it)"
        failed = (
            Minder(told, [workers], control, events, check_delay=CHECK_SECONDS, sockets=[listening]).start().exception()
        )
        if workers.fault:
            raise MeritError(f"serve: {workers.fault}")
        if failed is not None:
            raise failed
    except zmq.ZMQError as error:  # concerns the socket files in the temporary folder
        raise MeritError(f"serve: {error}; a shorter TMPDIR helps where a path is too long") from error
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        for each in (room, counts):
            shutil.rmtree(each, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
