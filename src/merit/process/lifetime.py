"""A process that ends with the one that started it."""

import ctypes
import os
import signal
import sys

ENDS_WITH_PARENT = "MERIT_ENDS_WITH_PARENT"
"""In the environment of what is to end with the process that started it: which that is."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What tells a server to end. What helps it ends after it, and so hears none of them."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the one that started it dies, so that none is left without a supervisor.

    BentoML's workers are started by a process of their own, which must be able to be killed as well.

    Args:
        parent: the process that started this one; if it is no more, this one ends now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)
