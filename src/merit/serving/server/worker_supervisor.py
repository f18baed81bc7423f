"""Starts and supervises BentoML's workers with circus, as `bentoml serve` does.

`bentoml serve` first loads BentoML and the service to learn settings that are known here, and each worker loads them
again; without that step the first response comes a third sooner.

Usage: python -m merit.serving.server.worker_supervisor HOST PORT COUNT, started with the stop signals blocked; it
unblocks them once it can handle them.
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

from merit.console.json_log import write_log_line
from merit.errors import MeritError
from merit.process.lifetime import PARENT_PID_VARIABLE, STOP_SIGNALS
from merit.serving.observability.shared_counters import find_memory_folder

SERVICE = "merit.serving.service:Predictor"
WORKER_MODULE = "_bentoml_impl.worker.service"
"""BentoML's program for one worker, which serves an inherited socket."""
BACKLOG = 2048
SHUTDOWN_TIMEOUT_S = 86_400.0
"""Shutdown time limit of a worker; practically none, because requests in flight and queue flushes have their own."""
CHECK_INTERVAL_S = 0.5
"""Interval between checks that the workers are alive."""
MIN_LIFETIME_S = 30.0
"""Age from which a worker counts as having started successfully."""
MAX_EARLY_EXITS = 5
"""Consecutive early exits allowed per worker slot while no other worker serves."""
MIN_RESTART_DELAY_S, MAX_RESTART_DELAY_S = 0.1, 30.0
"""Bounds of the restart delay in seconds, which doubles with each consecutive early exit."""
DRAIN_SECONDS = 0.3
"""How long workers still accept connections queued by the kernel: retransmission of a dropped packet takes 0.2 s."""
STOP_RETRY_S = 0.05
"""Retry interval of a stop that circus rejected because another command was running."""


class WorkerWatcher(Watcher):  # type: ignore[misc]  # circus has no types
    """The workers of a server; stops the server if they can't be started or keep exiting, where circus would go on.

    Attributes:
        failure_reason: why the server was stopped, "" if it wasn't.
        is_shutting_down: whether exits are expected; a stop signal may reach workers before the supervisor stops them.
    """

    failure_reason = ""
    is_shutting_down = False
    _early_exits = 0
    _next_start_at = 0.0

    async def spawn_processes(self) -> None:
        """Start missing workers after the restart delay; at once if none is left, because circus would stop then."""
        if not self.is_shutting_down and (time.monotonic() >= self._next_start_at or not self.processes):
            await super().spawn_processes()

    def spawn_process(self, *args: Any, **kwargs: Any) -> Any:
        """Start one worker; return False if that fails."""
        process = super().spawn_process(*args, **kwargs)
        if process is False:
            self._give_up("a worker can't be started (above is why), so all have ended")
        return process

    def reap_process(self, pid: int, status: int | None = None) -> None:
        """Handle the exit of a worker: log an unexpected one, and stop the server after too many early exits."""
        process = self.processes.get(pid)
        super().reap_process(pid, status)
        if process is None or self.is_shutting_down or self.is_stopping() or self.is_stopped():
            return
        code = process.returncode() if status is None else os.waitstatus_to_exitcode(status)
        write_log_line({"level": "error", "event": "worker_lost", "worker": pid, "why": _describe_exit(code)})
        self._early_exits = self._early_exits + 1 if process.age() < MIN_LIFETIME_S else 0
        self._next_start_at = (
            time.monotonic() + min(MIN_RESTART_DELAY_S * 2**self._early_exits, MAX_RESTART_DELAY_S)
            if self._early_exits
            else 0.0
        )
        is_serving = any(each.age() >= MIN_LIFETIME_S for each in self.processes.values())
        if self._early_exits >= MAX_EARLY_EXITS * self.numprocesses and not is_serving:
            self._give_up(f"the workers end soon after their start, {self._early_exits} in a row (above is why)")

    def _give_up(self, reason: str) -> None:
        if not self.failure_reason:
            self.failure_reason = reason
            os.kill(os.getpid(), signal.SIGTERM)


def _describe_exit(code: int | None) -> str:
    """Describe the exit code of a process."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"


class WorkerSupervisor(Arbiter):  # type: ignore[misc]  # circus has no types
    """Supervises the workers; shuts down at the first stop signal, even while circus runs another command.

    Args:
        ready_message: line printed once the supervisor listens.
        *args, **named: arguments of circus's Arbiter.
    """

    def __init__(self, ready_message: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ready_message, self._stop_requested = ready_message, False

    def initialize(self) -> None:
        """Open the sockets, then handle stop signals."""
        super().initialize()
        for each in STOP_SIGNALS:
            signal.signal(each, lambda *_: self.loop.add_callback_from_signal(self._begin_shutdown))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        print(self._ready_message, file=sys.stderr)

    def _begin_shutdown(self) -> None:
        """Stop accepting new connections; stop the workers after they have taken those already queued."""
        for watcher in self.watchers:
            watcher.is_shutting_down = True
        for each in self.sockets.values():
            each.listen(0)
        self.loop.call_later(DRAIN_SECONDS, self._request_stop)

    def _request_stop(self) -> None:
        if self._stop_requested:
            return
        try:
            self.stop()
            self._stop_requested = True
            self.sockets.close_all()  # else the kernel accepts connections until the last worker exits, and resets them
        except ConflictError:
            self.loop.call_later(STOP_RETRY_S, self._request_stop)


def main(host: str, port: str, count: str) -> None:
    """Serve, or print why that fails and exit."""
    try:
        run_workers(host, int(port), int(count))
    except MeritError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def run_workers(host: str, port: int, count: int) -> None:
    """Serve with `count` workers until a stop signal; a worker that exits is replaced.

    Raises:
        MeritError: the address can't be used, or the workers can't be started or keep exiting.
    """
    try:
        socket_folder = Path(tempfile.mkdtemp(prefix="merit-serve-"))
    except OSError as error:
        raise MeritError(f"serve: there is no folder for temporary files ({error.strerror or error})") from error
    args = ["-m", WORKER_MODULE, SERVICE, "--fd", "$(circus.sockets.http)", "--worker-id", "$(CIRCUS.WID)"]
    metrics_folder = ""
    try:
        metrics_folder = tempfile.mkdtemp(prefix="merit-serve-", dir=find_memory_folder())
        workers = WorkerWatcher(
            "workers",
            shlex.quote(sys.executable),
            [*args, "--backlog", str(BACKLOG)],
            numprocesses=count,
            copy_env=True,
            env={"PROMETHEUS_MULTIPROC_DIR": metrics_folder, PARENT_PID_VARIABLE: str(os.getpid())},
            use_sockets=True,
            stop_children=True,
            graceful_timeout=SHUTDOWN_TIMEOUT_S,
        )
        address_family, displayed_host = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
        listen_socket = CircusSocket("http", host, port, family=address_family, backlog=BACKLOG)
        control, events = (f"ipc://{socket_folder}/{name}" for name in ("control", "events"))  # private, unlike ports
        ready_message = f"listening on http://{displayed_host}:{port} (Ctrl+C ends it)"
        failure = (
            WorkerSupervisor(
                ready_message, [workers], control, events, check_delay=CHECK_INTERVAL_S, sockets=[listen_socket]
            )
            .start()
            .exception()
        )
        if workers.failure_reason:
            raise MeritError(f"serve: {workers.failure_reason}")
        if failure is not None:
            raise failure
    except zmq.ZMQError as error:  # concerns the socket files in the temporary folder
        raise MeritError(f"serve: {error}; a shorter TMPDIR helps where a path is too long") from error
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        for each in (socket_folder, metrics_folder):
            shutil.rmtree(each, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
