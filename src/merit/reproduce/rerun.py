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

TERMINATION_TIMEOUT_S = 15.0
"""Seconds between SIGTERM and SIGKILL."""
FINGERPRINT_CODE = (
    "import yaml; from merit.config.compose import sealed; "
    "print(sealed(yaml.safe_load(open('params.yaml', encoding='utf-8'))['data']['source'])[1])"
)


def run_stages(root: Path, lock_descriptor: int) -> None:
    """Run every stage with the worktree's code, which writes the results to the worktree's dvc.lock.

    Args:
        root: the project folder in the worktree.
        lock_descriptor: the reproduction lock's file descriptor; stages inherit it, so it stays locked until they end.

    Raises:
        Refused: a stage refused.
        MeritError: a stage failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __package__, str(root)], start_new_session=True, pass_fds=[lock_descriptor]
    )
    try:
        code = process.wait()
    except BaseException:
        _terminate(process)
        raise
    if code:
        error_class = Refused if code == Refused.exit_code else MeritError
        raise error_class("reproduce: a stage whose outputs are in dvc.lock fails now; see its error above")


def compute_fingerprint(root: Path) -> str | None:
    """Return the current fingerprint of the source's files, computed by the worktree's code; None if that fails.

    Code of older commits may lack the function that is called.
    """
    options = {"cwd": root, "env": worktree.build_environment(root)}
    process = subprocess.run(
        [sys.executable, "-P", "-c", FINGERPRINT_CODE], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]  # mypy reads no keywords out of a dict
    return process.stdout.strip() or None if process.returncode == 0 else None


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a session: SIGTERM first, so that stages can end their runs and complete their files, then SIGKILL."""
    for each in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + TERMINATION_TIMEOUT_S
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
