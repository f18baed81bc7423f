"""A PostgreSQL server of a test's own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).parent if beside else None


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a PostgreSQL server on loopback, in a folder of its own; skip if there is none to start."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: postgresql); .ci/run installs them")
    folder = Path(tempfile.mkdtemp(prefix="merit-pg-"))
    # PostgreSQL refuses to run as root, which is who we are in many containers.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = [programs / "initdb", "-D", folder / "data", "-U", "shop", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(made, check=True, capture_output=True, user=user, cwd=folder)
    with (folder / "log").open("wb") as log:
        command = [programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
    try:
        _wait(programs / "pg_isready", port, process)
        yield f"postgresql+psycopg://shop@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # a fast end, which waits for no client
        process.wait(30)
        shutil.rmtree(folder)


def _wait(ready: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers: it listens before that."""
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        command = [ready, "--quiet", "--host", "127.0.0.1", "--port", str(port)]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail("the server doesn't answer")
