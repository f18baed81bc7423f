"""Reruns every stage of a worktree in a process session of its own, so that all child processes end with it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from merit.errors import MeritError, Refused
from merit.reproduce import worktree

GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""
ASK = (
    "import yaml; from merit.config.compose import sealed; "
    "print(sealed(yaml.safe_load(open('params.yaml', encoding='utf-8'))['data']['source'])[1])"
)


def rebuild(root: Path, held: int) -> None:
    """Run every stage with the worktree's code, which writes the results to the worktree's dvc.lock.

    Args:
        root: the project folder in the worktree.
        held: the reproduction lock's file descriptor; stages inherit it, so it stays locked until they end.

    Raises:
        Refused: a stage refused.
        MeritError: a stage failed.
    """
    process = subprocess.Popen([sys.executable, "-m", __package__, str(root)], start_new_session=True, pass_fds=[held])
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code:
        kind = Refused if code == Refused.exit_code else MeritError
        raise kind("reproduce: a stage whose outputs are in dvc.lock fails now; see its error above")


def fingerprint(root: Path) -> str | None:
    """Return the current fingerprint of the source's files, computed by the worktree's code; None if that fails.

    Code of older commits may lack the function that is called.
    """
    where = {"cwd": root, "env": worktree.environment(root)}
    done = subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, text=True, check=False, **where)  # type: ignore[call-overload]  # mypy reads no keywords out of a dict
    return done.stdout.strip() or None if done.returncode == 0 else None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a session: SIGTERM first, so that stages can end their runs and complete their files, then SIGKILL."""
    for each in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
