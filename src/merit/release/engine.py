"""Runs docker, podman or buildah, whichever is available, to build, push and inspect images."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from merit.errors import MeritError

WORKS = {
    "docker": ["version", "--format", "{{.Server.Version}}"],
    "podman": ["info", "--format", "{{.Host.OS}}"],
    "buildah": ["info", "--format", "{{.host.os}}"],
}
"""A command per engine that succeeds only if the engine is usable (docker needs its daemon), in the order of `auto`."""

PYTHON = "/opt/merit/bin/python"
LOOPBACK = ("127.", "localhost")
BUILD_SECONDS = 1800
PUSH_SECONDS = 900
QUICK_SECONDS = 60
PAUSES = (1.0, 4.0)
"""Seconds between attempts to push or log in; there is one more attempt than pauses."""
TOLD = 400
ERROR = re.compile(r"\berror\b[:\s]", re.IGNORECASE)
MOST_ERRORS = 2


@dataclass(frozen=True)
class Engine:
    """A program that builds, pushes and runs images: docker, podman or buildah."""

    name: str

    def build(self, context: Path, image: str, base: str, labels: Mapping[str, str]) -> None:
        """Build an image from a folder that holds a Containerfile.

        Raises:
            MeritError: the build fails.
        """
        form = [] if self.name == "docker" else ["--format", "docker"]  # the OCI format has no health check
        layers = ["--layers"] if self.name == "buildah" else []
        marks = [text for name, value in sorted(labels.items()) for text in ("--label", f"{name}={value}")]
        told = ["--file", str(context / "Containerfile"), "--build-arg", f"BASE={base}", "--tag", image]
        self._run(["build", *form, *layers, *self._insecure(base), *told, *marks, str(context)], BUILD_SECONDS)

    def push(self, image: str) -> None:
        """Push an image to the registry in its name, with retries.

        Raises:
            MeritError: every attempt failed.
        """
        where = [f"docker://{image}"] if self.name == "buildah" else []
        self._again(["push", *self._insecure(image), image, *where], PUSH_SECONDS)

    def login(self, host: str, user: str, password: str) -> None:
        """Log in to a registry, with retries; the password is passed by standard input, never as an argument.

        Raises:
            MeritError: the registry is down or rejects the user.
        """
        told = ["--username", user, "--password-stdin", host]
        self._again(["login", *self._insecure(host), *told], QUICK_SECONDS, password)

    def _again(self, args: list[str], seconds: float, told: str | None = None) -> None:
        for pause in (*PAUSES, None):
            try:
                run([self.name, *args], seconds, told=told)
            except MeritError:
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return

    def output(self, image: str, code: str) -> str:
        """Return the output of Python code run inside an image; the image is pulled if it is not local.

        Raises:
            MeritError: the image or the code can't be run.
        """
        if self.name != "buildah":
            how = ["--rm", "--network", "none", "--entrypoint", PYTHON]
            return self._run(["run", *how, *self._insecure(image), image, "-c", code], QUICK_SECONDS)
        made = self._run(["from", *self._insecure(image), image], PUSH_SECONDS).strip().splitlines()[-1]
        try:
            return self._run(["run", made, "--", PYTHON, "-c", code], QUICK_SECONDS)
        finally:
            self._run(["rm", made], QUICK_SECONDS)

    def _insecure(self, image: str) -> list[str]:
        """Return the option that allows plain HTTP to a registry on loopback; docker allows it by itself."""
        return ["--tls-verify=false"] if image.startswith(LOOPBACK) and self.name != "docker" else []

    def _run(self, args: list[str], seconds: float) -> str:
        return run([self.name, *args], seconds)


def find(name: str) -> Engine:
    """Return the engine of that name, or with `auto` the first usable one.

    Raises:
        MeritError: the engine, or with `auto` every engine, is missing or not usable.
    """
    reasons = []
    for each in WORKS if name == "auto" else [name]:
        if not shutil.which(each):
            reasons.append(f"{each} is not on PATH")
            continue
        try:
            run([each, *WORKS[each]], QUICK_SECONDS)
        except MeritError as error:
            reasons.append(str(error))
        else:
            return Engine(each)
    raise MeritError(
        f"release.engine is {name}: {'; '.join(reasons)}; install docker, podman or buildah, or name one that works"
    )


def run(
    command: list[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    told: str | None = None,
) -> str:
    """Run a program and return its standard output.

    Args:
        command: the program and its arguments.
        seconds: the timeout.
        environment: its environment variables; by default those of this process.
        folder: its working directory; by default the current one.
        told: its standard input.

    Raises:
        MeritError: the program can't be run, fails or times out; the message holds its last error lines.
    """
    known = {**(os.environ if environment is None else environment), "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    called = f"'{Path(command[0]).name} {command[1]}'"
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=known,
            input=told or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise MeritError(f"{called} took more than {seconds:g} seconds") from error
    except OSError as error:
        raise MeritError(f"{called} can't be run: {error.strerror}") from error
    if done.returncode != 0:
        raise MeritError(f"{called} failed: {_reason(done.stdout, done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def _reason(*said: str) -> str:
    """Return the last lines of a program's output that contain "error", or else its last line."""
    lines = [" ".join(line.split()) for text in said for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.search(line)]
    return "; ".join(dict.fromkeys(errors[-MOST_ERRORS:] or lines[-1:]))[-TOLD:]
