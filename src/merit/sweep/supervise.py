"""What stands by a trial's process on the machine that runs it: begins it, ends it if asked to, and tells its death."""

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
"""Seconds between two looks."""
ALIVE, BEATS = "alive", 5.0
"""A file that is written so often, in seconds, while somebody stands by; it says on which machine, by which process."""
INTERRUPTED = "interrupted"
"""The reason to end a trial that is to be done again: it leaves no final state."""


def spawn(folder: Path, env: dict[str, str] | None = None) -> None:
    """Do a trial in a new interpreter, and return when it has ended."""
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
    """Do the trial that Hydra's configuration names: what every launcher of Hydra's is given to run."""
    spawn(Path(config.trial))


def attend(folder: Path, ended: Callable[[], int | None], kill: Callable[[], None]) -> None:
    """Stand by a process until it has ended; one that ends without a word is told as killed.

    Args:
        folder: the trial's.
        ended: waits a little; returns the exit status, negative for a signal, or None while it runs.
        kill: ends it at once.
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
        return "killed from outside (SIGKILL), as a system does that runs out of memory; sweep.workers=1 needs less"
    if status < 0:
        return f"killed by signal {signal.Signals(-status).name}; its {record.LOG} may say more"
    return f"ended with exit code {status} before its end; its {record.LOG} may say more"


def end(folder: Path, reason: str) -> None:
    """Ask whoever stands by a trial to kill it."""
    artifacts.write_text(folder / process.KILL, reason)


def is_alive(folder: Path) -> bool:
    """Say whether somebody still works on a trial that has come to no end: here by its process, elsewhere by beats."""
    told = json.loads((folder / record.TRIAL).read_text(encoding="utf-8"))
    if told.get("host") == socket.gethostname():
        return process.__package__.encode() in _command(told.get("pid"))
    with suppress(OSError):
        if time.time() - (folder / ALIVE).stat().st_mtime < 12 * BEATS:
            # Its process may not have said yet where it is; who stands by it has.
            host, _, pid = (folder / ALIVE).read_text(encoding="utf-8").partition(" ")
            return host != socket.gethostname() or bool(_command(pid))
    return False


def _command(pid: object) -> bytes:
    """Return the command line of a process; that of one that is gone is empty."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
