"""Starts an image once, under the same restrictions as in production, and measures how long it takes to get ready."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.errors import MeritError, Refused
from merit.registry.tags import Version
from merit.release.engine import Engine, run_program

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.02
CHECK_INTERVAL_S = 2.0
"""Seconds between checks whether the container has exited."""
COMMAND_TIMEOUT_S = 60
RUNNERS = ("docker", "podman")
SERVE_VARIABLES = ("MERIT_SERVE={}",)
"""An empty MERIT_SERVE gives default settings: on loopback no keys are required, and no predictions are logged."""


def measure_start(engine: Engine, image: str, version: Version, package: Path) -> float | str:
    """Return the seconds from start to ready, or the reason why the image wasn't started.

    Args:
        engine: the engine that built the image.
        image: the image's name.
        version: the version that responses must name.
        package: the version's package, whose example is sent as a request.

    Raises:
        Refused: the image starts but does not get ready, or its response does not name this version.
    """
    if sys.platform != "linux":
        return "only on Linux"
    runner = engine.name if engine.name in RUNNERS else "podman"  # which shares its store with buildah
    if not shutil.which(runner):
        return f"{engine.name} builds images but does not run them; podman would"
    port = _find_free_port()
    restrictions = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host"]  # noqa: S108  # in the image
    environment_options = [
        text for each in (f"BENTOML_HOST={HOST}", f"PORT={port}", *SERVE_VARIABLES) for text in ("--env", each)
    ]
    started_at = time.monotonic()
    try:
        container = (
            run_program([runner, "run", "--detach", *restrictions, *environment_options, image], COMMAND_TIMEOUT_S)
            .strip()
            .splitlines()[-1]
        )
    except MeritError as error:
        return f"not started: {error}"
    try:
        duration_s = _wait_until_ready(runner, container, port, started_at)
        _check_response(port, version, package)
    finally:
        run_program([runner, "rm", "--force", "--volumes", container], COMMAND_TIMEOUT_S)
    return duration_s


def _wait_until_ready(runner: str, container: str, port: int, started_at: float) -> float:
    checked_at = started_at
    while time.monotonic() < started_at + READY_TIMEOUT_S:
        try:
            _request(port, "/readyz")
        except OSError:
            if time.monotonic() > checked_at + CHECK_INTERVAL_S:
                checked_at = time.monotonic()
                if (
                    run_program(
                        [runner, "inspect", "--format", "{{.State.Running}}", container], COMMAND_TIMEOUT_S
                    ).strip()
                    != "true"
                ):
                    break
            time.sleep(POLL_INTERVAL_S)
        else:
            return time.monotonic() - started_at
    raise Refused(f"the image does not get ready: {' '.join(_read_logs(runner, container).split())[-400:]}")


def _read_logs(runner: str, container: str) -> str:
    """Return a container's output; the runner prints the container's standard error on its own standard error."""
    command, pipe, same = [runner, "logs", container], subprocess.PIPE, subprocess.STDOUT
    try:
        return subprocess.run(
            command, stdout=pipe, stderr=same, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        ).stdout
    except (subprocess.TimeoutExpired, OSError):
        return "its log can't be read"


def _check_response(port: int, version: Version, package: Path) -> None:
    """Check that the response to the package's example names the version."""
    example = artifacts.read_json(package / artifacts.SIGNATURE, "package").get("example")
    if not example:
        return
    try:
        response = json.loads(_request(port, "/predict", json.dumps(example).encode()))
    except (OSError, ValueError) as error:
        raise Refused(f"the image does not answer the package's example: {error}") from error
    if response.get("version") != version.short_name:
        raise Refused(f"the image answers as version {response.get('version')!r}, but it is of {version.name}")


def _request(port: int, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", data=body, timeout=5) as response:  # loopback
        return response.read()


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
