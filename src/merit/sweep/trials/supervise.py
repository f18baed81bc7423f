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
from merit.sweep import record
from merit.sweep.trials import process

POLL_INTERVAL_S = 0.1
"""Seconds between two polls of the process."""
HEARTBEAT_FILE, HEARTBEAT_INTERVAL_S = "alive", 5.0
"""The heartbeat file that a supervisor writes, holding its host and process id, and the seconds between two writes."""
INTERRUPTED = "interrupted"
"""The reason for killing a trial that will be run again: it records no final state."""


def spawn_trial(folder: Path, env: dict[str, str] | None = None) -> None:
    """Run a trial in a new interpreter, and return when it has exited.

    Args:
        folder: the trial's folder.
        env: environment variables to set in addition to this process's.
    """
    child_environment = {**os.environ, **(env or {}), "MERIT_ASKED": repr(time.time())}
    with (folder / record.LOG_FILE).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", process.__name__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=child_environment,
        )

    def poll_exit() -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(POLL_INTERVAL_S)
        return None

    supervise_process(folder, poll_exit, child.kill)


def run_job(config: Any) -> None:
    """Run the trial whose folder is `config.trial`: the task function that Hydra's launchers execute."""
    spawn_trial(Path(config.trial))


def supervise_process(folder: Path, poll_exit: Callable[[], int | None], kill: Callable[[], None]) -> None:
    """Supervise a process until it exits; one that exits without a final state is recorded as killed.

    Args:
        folder: the trial's folder.
        poll_exit: waits up to `POLL_INTERVAL_S` seconds; returns the exit status, negative for a signal, or None
            while the process runs.
        kill: kills the process at once.
    """
    heartbeat_file, last_heartbeat = folder / HEARTBEAT_FILE, 0.0
    while (status := poll_exit()) is None:
        if time.monotonic() - last_heartbeat > HEARTBEAT_INTERVAL_S:
            heartbeat_file.write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")
            last_heartbeat = time.monotonic()
        if (folder / process.KILL_FILE).exists():
            kill()
    heartbeat_file.unlink(missing_ok=True)
    if record.is_final(folder):
        return
    reason = (
        (folder / process.KILL_FILE).read_text(encoding="utf-8")
        if (folder / process.KILL_FILE).exists()
        else _describe_exit(status)
    )
    if reason != INTERRUPTED:
        record.update_trial_json(folder, state="killed", error=reason, epochs=len(record.read_epochs(folder)))


def _describe_exit(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed from outside (SIGKILL), often because memory ran out; sweep.workers=1 needs less"
    if status < 0:
        return f"killed by signal {signal.Signals(-status).name}; its {record.LOG_FILE} may say more"
    return f"ended with exit code {status} before its end; its {record.LOG_FILE} may say more"


def request_kill(folder: Path, reason: str) -> None:
    """Ask a trial's supervisor to kill it, by a file in its folder."""
    artifacts.write_text(folder / process.KILL_FILE, reason)


def is_alive(folder: Path) -> bool:
    """Return whether an unfinished trial still runs: on this machine by its process, elsewhere by its heartbeat."""
    payload = json.loads((folder / record.TRIAL_JSON).read_text(encoding="utf-8"))
    if payload.get("host") == socket.gethostname():
        return process.__package__.encode() in _read_command_line(payload.get("pid"))
    with suppress(OSError):
        if time.time() - (folder / HEARTBEAT_FILE).stat().st_mtime < 12 * HEARTBEAT_INTERVAL_S:
            # The trial's process may not have recorded its host and pid yet; its supervisor has.
            host, _, pid = (folder / HEARTBEAT_FILE).read_text(encoding="utf-8").partition(" ")
            return host != socket.gethostname() or bool(_read_command_line(pid))
    return False


def _read_command_line(pid: object) -> bytes:
    """Return the command line of a process, empty if the process is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
