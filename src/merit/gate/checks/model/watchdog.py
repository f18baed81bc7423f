"""Ends what a gate has started, where the gate was killed and could not: a program of its own, of Python alone.

It is told on standard input, which closes with the gate whatever becomes of it: a line per process group, then `done`.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

SECONDS = 10.0


def main(folder: str) -> None:
    """Wait until nobody speaks any more; without a last word, end the groups and remove the folder."""
    groups = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        groups.append(int(line))
    for how in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, how)
        until = time.monotonic() + SECONDS
        while any(map(_is_there, groups)) and time.monotonic() < until:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
