"""Compute every stage of a worktree again, in a session of its own, so that whatever it started ends with it."""

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
"""Seconds that a stage has to end in after it was asked to."""
ASK = (
    "import yaml; from merit.config.compose import sealed; "
    "print(sealed(yaml.safe_load(open('params.yaml', encoding='utf-8'))['data']['source'])[1])"
)


def rebuild(root: Path, held: int) -> None:
    """Run every stage by the code of the worktree; its dvc.lock then says what came out.

    Args:
        root: the project in the worktree.
        held: a descriptor that the stages inherit: while they live, nobody else takes their place.

    Raises:
        Refused: a stage did its work and said no.
        MeritError: a stage is broken.
    """
    process = subprocess.Popen([sys.executable, "-m", __package__, str(root)], start_new_session=True, pass_fds=[held])
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code:
        kind = Refused if code == Refused.exit_code else MeritError
        raise kind("reproduce: a stage that dvc.lock has the outputs of ends otherwise now; its reason stands above")


def fingerprint(root: Path) -> str | None:
    """Return the fingerprint of the source's files as they are now; None if the code there doesn't tell it so."""
    where = {"cwd": root, "env": worktree.environment(root)}
    done = subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, text=True, check=False, **where)  # type: ignore[call-overload]  # mypy reads no keywords out of a dict
    return done.stdout.strip() or None if done.returncode == 0 else None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a session: ask first, for a stage has runs to end and files to leave whole."""
    for each in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
