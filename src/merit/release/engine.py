"""Runs docker, podman or buildah, whichever is available, to build, push and inspect images."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from merit.errors import MeritError

PROBE_COMMANDS = {
    "docker": ["version", "--format", "{{.Server.Version}}"],
    "podman": ["info", "--format", "{{.Host.OS}}"],
    "buildah": ["info", "--format", "{{.host.os}}"],
}
"""A command per engine that succeeds only if the engine is usable (docker needs its daemon), in the order of `auto`."""

IMAGE_PYTHON = "/opt/merit/bin/python"
LOOPBACK_PREFIXES = ("127.", "localhost")
BUILD_TIMEOUT_S = 1800
PUSH_TIMEOUT_S = 900
QUICK_TIMEOUT_S = 60
RETRY_PAUSES_S = (1.0, 4.0)
"""Seconds between attempts to push or log in; there is one more attempt than pauses."""
MAX_REASON_CHARACTERS = 400
ERROR_PATTERN = re.compile(r"\berror\b[:\s]", re.IGNORECASE)
MAX_ERROR_LINES = 2


@dataclass(frozen=True)
class Engine:
    """A program that builds, pushes and runs images: docker, podman or buildah."""

    name: str

    def build(self, context: Path, image: str, base: str, labels: Mapping[str, str]) -> None:
        """Build an image from a folder that holds a Containerfile.

        Raises:
            MeritError: the build fails.
        """
        format_options = [] if self.name == "docker" else ["--format", "docker"]  # the OCI format has no health check
        layer_options = ["--layers"] if self.name == "buildah" else []
        label_options = [text for name, value in sorted(labels.items()) for text in ("--label", f"{name}={value}")]
        options = ["--file", str(context / "Containerfile"), "--build-arg", f"BASE={base}", "--tag", image]
        self._run(
            [
                "build",
                *format_options,
                *layer_options,
                *self._insecure_options(base),
                *options,
                *label_options,
                str(context),
            ],
            BUILD_TIMEOUT_S,
        )

    def push(self, image: str) -> None:
        """Push an image to the registry in its name, with retries.

        Raises:
            MeritError: every attempt failed.
        """
        destination = [f"docker://{image}"] if self.name == "buildah" else []
        self._run_with_retries(["push", *self._insecure_options(image), image, *destination], PUSH_TIMEOUT_S)

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in to a registry, with retries; the password is passed by standard input, never as an argument.

        Raises:
            MeritError: the registry is down or rejects the user.
        """
        options = ["--username", user, "--password-stdin", host]
        self._run_with_retries(["login", *self._insecure_options(host), *options], QUICK_TIMEOUT_S, password)

    def _run_with_retries(self, args: list[str], timeout_s: float, standard_input: str | None = None) -> None:
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

        retrying = Retrying(
            retry=retry_if_exception_type(MeritError),
            wait=wait_chain(*map(wait_fixed, RETRY_PAUSES_S)),
            stop=stop_after_attempt(len(RETRY_PAUSES_S) + 1),
            reraise=True,
        )
        retrying(run_program, [self.name, *args], timeout_s, standard_input=standard_input)

    def run_python(self, image: str, code: str) -> str:
        """Return the output of Python code run inside an image; the image is pulled if it is not local.

        Raises:
            MeritError: the image or the code can't be run.
        """
        if self.name != "buildah":
            options = ["--rm", "--network", "none", "--entrypoint", IMAGE_PYTHON]
            return self._run(["run", *options, *self._insecure_options(image), image, "-c", code], QUICK_TIMEOUT_S)
        container = self._run(["from", *self._insecure_options(image), image], PUSH_TIMEOUT_S).strip().splitlines()[-1]
        try:
            return self._run(["run", container, "--", IMAGE_PYTHON, "-c", code], QUICK_TIMEOUT_S)
        finally:
            self._run(["rm", container], QUICK_TIMEOUT_S)

    def _insecure_options(self, image: str) -> list[str]:
        """Return the option that allows plain HTTP to a registry on loopback; docker allows it by itself."""
        return ["--tls-verify=false"] if image.startswith(LOOPBACK_PREFIXES) and self.name != "docker" else []

    def _run(self, args: list[str], timeout_s: float) -> str:
        return run_program([self.name, *args], timeout_s)


def find_engine(name: str) -> Engine:
    """Return the engine of that name, or with `auto` the first usable one.

    Raises:
        MeritError: the engine, or with `auto` every engine, is missing or not usable.
    """
    reasons = []
    for each in PROBE_COMMANDS if name == "auto" else [name]:
        if not shutil.which(each):
            reasons.append(f"{each} is not on PATH")
            continue
        try:
            run_program([each, *PROBE_COMMANDS[each]], QUICK_TIMEOUT_S)
        except MeritError as error:
            reasons.append(str(error))
        else:
            return Engine(each)
    raise MeritError(
        f"release.engine is {name}: {'; '.join(reasons)}; install docker, podman or buildah, or name one that works"
    )


def run_program(
    command: list[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    standard_input: str | None = None,
) -> str:
    """Run a program and return its standard output.

    Args:
        command: the program and its arguments.
        timeout_s: the timeout.
        environment: its environment variables; by default those of this process.
        folder: its working directory; by default the current one.
        standard_input: its standard input.

    Raises:
        MeritError: the program can't be run, fails or times out; the message holds its last error lines.
    """
    variables = {**(os.environ if environment is None else environment), "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    label = f"'{Path(command[0]).name} {command[1]}'"
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            input=standard_input or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise MeritError(f"{label} took more than {timeout_s:g} seconds") from error
    except OSError as error:
        raise MeritError(f"{label} can't be run: {error.strerror}") from error
    if process.returncode != 0:
        raise MeritError(
            f"{label} failed: {_extract_reason(process.stdout, process.stderr) or f'exit code {process.returncode}'}"
        )
    return process.stdout


def _extract_reason(*outputs: str) -> str:
    """Return the last lines of a program's output that contain "error", or else its last line."""
    lines = [" ".join(line.split()) for text in outputs for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR_PATTERN.search(line)]
    return "; ".join(dict.fromkeys(errors[-MAX_ERROR_LINES:] or lines[-1:]))[-MAX_REASON_CHARACTERS:]
