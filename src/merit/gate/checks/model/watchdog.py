"""Watchdog process: ends the processes of a gate that was killed before it could end them itself.

Runs as a separate program with the standard library only. It reads one process group per line from standard input,
which closes when the gate ends in any way; the line `done` means that the gate has cleaned up.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

STOP_TIMEOUT_S = 10.0


def main(folder: str) -> None:
    """Read process groups until standard input closes; without a `done`, end the groups and remove the folder."""
    groups = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        groups.append(int(line))
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, stop_signal)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(map(_is_alive, groups)) and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _is_alive(group: int) -> bool:
    """Return whether a process group still has processes."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
