"""An endpoint that runs for a test, and is stopped after it."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.small_project import Project


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Endpoint:
    """A running endpoint."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], example: dict) -> None:
        self.port, self.process, self.example = port, process, example

    def call(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def predict(self, value: object) -> tuple[int, dict]:
        """Return the status and the answer to rows."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, text = self.call("/predict", body)
        return status, json.loads(text)

    def is_ready(self) -> bool:
        """Say whether it answers."""
        try:
            return self.call("/readyz")[0] == 200
        except OSError:
            return False


@contextmanager
def serving(project: Project, *command: str, cwd: Path | None = None) -> Iterator[Endpoint]:
    """Start a command that serves the project's package, and yield it once it is ready."""
    port = free_port()
    with (project.folder / ".home/serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=cwd or project.folder,
            env=project.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    endpoint = Endpoint(port, process, json.loads(project.read("model/signature.json"))["example"])
    try:
        for _ in range(300):
            if endpoint.is_ready():
                break
            time.sleep(0.1)
        else:
            pytest.fail("never ready: " + project.read(".home/serve.log"))
        yield endpoint
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
