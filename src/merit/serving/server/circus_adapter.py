"""The only module that uses circus: its watcher and arbiter, whose internal methods are overridden here."""

import os
import signal
import time
from typing import Any

from circus.arbiter import Arbiter
from circus.exc import ConflictError
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from merit.console import logging
from merit.console.json_log import write_log_line
from merit.process.lifetime import STOP_SIGNALS

__all__ = ["CircusSocket", "WorkerSupervisor", "WorkerWatcher"]

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
        ready_message: line logged once the supervisor listens.
        *args, **kwargs: arguments of circus's Arbiter.
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
        logging.logger.info("%s", self._ready_message)

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
