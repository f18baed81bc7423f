"""Engines: docker, podman or buildah as a program, whichever works here; each builds, pushes and looks inside."""

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
"""What an engine answers only if it can work, such as docker with its daemon; in the order in which auto takes them."""

PYTHON = "/opt/merit/bin/python"
LOOPBACK = ("127.", "localhost")
BUILD_SECONDS = 1800
PUSH_SECONDS = 900
QUICK_SECONDS = 60
PAUSES = (1.0, 4.0)
"""Seconds between one attempt to push or to log in and the next."""
TOLD = 400
ERROR = re.compile(r"\berror\b[:\s]", re.IGNORECASE)
MOST_ERRORS = 2


@dataclass(frozen=True)
class Engine:
    """A program that builds images."""

    name: str

    def build(self, context: Path, image: str, base: str, labels: Mapping[str, str]) -> None:
        """Build the image of a folder that holds a Containerfile.

        Raises:
            MeritError: it can't be built.
        """
        form = [] if self.name == "docker" else ["--format", "docker"]  # OCI's own form knows no health check
        layers = ["--layers"] if self.name == "buildah" else []
        marks = [text for name, value in sorted(labels.items()) for text in ("--label", f"{name}={value}")]
        told = ["--file", str(context / "Containerfile"), "--build-arg", f"BASE={base}", "--tag", image]
        self._run(["build", *form, *layers, *self._insecure(base), *told, *marks, str(context)], BUILD_SECONDS)

    def push(self, image: str) -> None:
        """Push an image to the registry in its name, again if that fails.

        Raises:
            MeritError: it can't be pushed.
        """
        where = [f"docker://{image}"] if self.name == "buildah" else []
        self._again(["push", *self._insecure(image), image, *where], PUSH_SECONDS)

    def login(self, host: str, user: str, password: str) -> None:
        """Log in at a registry, again if that fails; the password goes to the program's standard input alone.

        Raises:
            MeritError: the registry is down, or lets this user not in.
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
        """Return what a piece of Python prints inside an image; it is pulled where it is not here.

        Raises:
            MeritError: it can't be run.
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
        """Return what says that a registry on this very machine needs no TLS; docker knows."""
        return ["--tls-verify=false"] if image.startswith(LOOPBACK) and self.name != "docker" else []

    def _run(self, args: list[str], seconds: float) -> str:
        return run([self.name, *args], seconds)


def find(name: str) -> Engine:
    """Return the engine of a name, or with `auto` the first that works here.

    Raises:
        MeritError: it, or every one, is not there or doesn't work.
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
    """Return what a program prints; it runs in a folder, by default here, and is told a text by its standard input.

    Raises:
        MeritError: it says no, or takes too long; with the end of what it said.
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
    """Return of all that a program printed the last lines that call themselves errors, else the last line."""
    lines = [" ".join(line.split()) for text in said for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.search(line)]
    return "; ".join(dict.fromkeys(errors[-MOST_ERRORS:] or lines[-1:]))[-TOLD:]
