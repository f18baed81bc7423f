"""Supervises a trial's process on the machine that runs it: starts it, kills it on request, records a crash."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.sweep import process, record

PATIENCE = 0.1
"""Seconds between two polls of the process."""
ALIVE, BEATS = "alive", 5.0
"""The heartbeat file that a supervisor writes, holding its host and process id, and the seconds between two writes."""
INTERRUPTED = "interrupted"
"""The reason for killing a trial that will be run again: it records no final state."""


def spawn(folder: Path, env: dict[str, str] | None = None) -> None:
    """Run a trial in a new interpreter, and return when it has exited.

    Args:
        folder: the trial's folder.
        env: environment variables to set in addition to this process's.
    """
    given = {**os.environ, **(env or {}), "MERIT_ASKED": repr(time.time())}
    with (folder / record.LOG).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", process.__name__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=given,
        )

    def ended() -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(PATIENCE)
        return None

    attend(folder, ended, child.kill)


def task(config: Any) -> None:
    """Run the trial whose folder is `config.trial`: the task function that Hydra's launchers execute."""
    spawn(Path(config.trial))


def attend(folder: Path, ended: Callable[[], int | None], kill: Callable[[], None]) -> None:
    """Supervise a process until it exits; one that exits without a final state is recorded as killed.

    Args:
        folder: the trial's folder.
        ended: waits up to `PATIENCE` seconds; returns the exit status, negative for a signal, or None
            while the process runs.
        kill: kills the process at once.
    """
    alive, beat = folder / ALIVE, 0.0
    while (status := ended()) is None:
        if time.monotonic() - beat > BEATS:
            alive.write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")
            beat = time.monotonic()
        if (folder / process.KILL).exists():
            kill()
    alive.unlink(missing_ok=True)
    if record.is_final(folder):
        return
    reason = (folder / process.KILL).read_text(encoding="utf-8") if (folder / process.KILL).exists() else _of(status)
    if reason != INTERRUPTED:
        record.tell(folder, state="killed", error=reason, epochs=len(record.epochs(folder)))


def _of(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed from outside (SIGKILL), often because memory ran out; sweep.workers=1 needs less"
    if status < 0:
        return f"killed by signal {signal.Signals(-status).name}; its {record.LOG} may say more"
    return f"ended with exit code {status} before its end; its {record.LOG} may say more"


def end(folder: Path, reason: str) -> None:
    """Ask a trial's supervisor to kill it, by a file in its folder."""
    artifacts.write_text(folder / process.KILL, reason)


def is_alive(folder: Path) -> bool:
    """Return whether an unfinished trial still runs: on this machine by its process, elsewhere by its heartbeat."""
    told = json.loads((folder / record.TRIAL).read_text(encoding="utf-8"))
    if told.get("host") == socket.gethostname():
        return process.__package__.encode() in _command(told.get("pid"))
    with suppress(OSError):
        if time.time() - (folder / ALIVE).stat().st_mtime < 12 * BEATS:
            # The trial's process may not have recorded its host and pid yet; its supervisor has.
            host, _, pid = (folder / ALIVE).read_text(encoding="utf-8").partition(" ")
            return host != socket.gethostname() or bool(_command(pid))
    return False


def _command(pid: object) -> bytes:
    """Return the command line of a process, empty if the process is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
