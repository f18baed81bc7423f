"""Looks at file locks as another process would."""

import fcntl
import os
from pathlib import Path


def is_locked(path: Path) -> bool:
    """Return whether somebody, this process included, holds the lock of a file or folder."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
