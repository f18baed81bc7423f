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
from merit.release.engine import Engine, run

HOST = "127.0.0.1"
READY_SECONDS = 60.0
POLL_SECONDS = 0.02
LOOK_SECONDS = 2.0
"""Seconds between checks whether the container has exited."""
START_SECONDS = 60
RUNS = ("docker", "podman")
OPENED = ("MERIT_SERVE={}",)
"""An empty MERIT_SERVE gives default settings: on loopback no keys are required, and no predictions are logged."""


def seconds(engine: Engine, image: str, version: Version, package: Path) -> float | str:
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
    runner = engine.name if engine.name in RUNS else "podman"  # which shares its store with buildah
    if not shutil.which(runner):
        return f"{engine.name} builds images but does not run them; podman would"
    port = _free_port()
    locked = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host"]  # noqa: S108  # in the image
    told = [text for each in (f"BENTOML_HOST={HOST}", f"PORT={port}", *OPENED) for text in ("--env", each)]
    begun = time.monotonic()
    try:
        name = run([runner, "run", "--detach", *locked, *told, image], START_SECONDS).strip().splitlines()[-1]
    except MeritError as error:
        return f"not started: {error}"
    try:
        took = _waited(runner, name, port, begun)
        _answers(port, version, package)
    finally:
        run([runner, "rm", "--force", "--volumes", name], START_SECONDS)
    return took


def _waited(runner: str, name: str, port: int, begun: float) -> float:
    looked = begun
    while time.monotonic() < begun + READY_SECONDS:
        try:
            _call(port, "/readyz")
        except OSError:
            if time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                if run([runner, "inspect", "--format", "{{.State.Running}}", name], START_SECONDS).strip() != "true":
                    break
            time.sleep(POLL_SECONDS)
        else:
            return time.monotonic() - begun
    raise Refused(f"the image does not get ready: {' '.join(_logs(runner, name).split())[-400:]}")


def _logs(runner: str, name: str) -> str:
    """Return a container's output; the runner prints the container's standard error on its own standard error."""
    command, pipe, same = [runner, "logs", name], subprocess.PIPE, subprocess.STDOUT
    try:
        return subprocess.run(command, stdout=pipe, stderr=same, text=True, check=False, timeout=START_SECONDS).stdout
    except (subprocess.TimeoutExpired, OSError):
        return "its log can't be read"


def _answers(port: int, version: Version, package: Path) -> None:
    """Check that the response to the package's example names the version."""
    example = artifacts.read_json(package / artifacts.SIGNATURE, "package").get("example")
    if not example:
        return
    try:
        answer = json.loads(_call(port, "/predict", json.dumps(example).encode()))
    except (OSError, ValueError) as error:
        raise Refused(f"the image does not answer the package's example: {error}") from error
    if answer.get("version") != version.short_name:
        raise Refused(f"the image answers as version {answer.get('version')!r}, but it is of {version.name}")


def _call(port: int, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", data=body, timeout=5) as answer:  # loopback
        return answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
