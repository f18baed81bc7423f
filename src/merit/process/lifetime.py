"""Ends a process when its parent process dies."""

import ctypes
import os
import signal
import sys

PARENT_PID_VARIABLE = "MERIT_ENDS_WITH_PARENT"
"""Environment variable with the id of the parent process with which a process must end."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that stop a server. Its helper processes block these signals, because they must end after it."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int) -> None:
    """Make the kernel terminate this process when its parent dies, so that no worker is left without a supervisor.

    BentoML's workers have a supervisor process of their own, which can't stop them if it is killed with SIGKILL. Has no
    such effect outside Linux.

    Args:
        parent_pid: id of the parent process; if it has already exited, this process exits now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(0)
