"""The machine that a job runs on: its folder and its environment, a program that runs there, and GitHub's files."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearse import UnknownError
from rehearse.forge import Forge

STAYS = "self-hosted"
"""A machine of one's own: what its jobs leave in their folder is there for the next."""
PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
PASSED_ON = re.compile(r"PIP_.*|.*_PROXY|.*_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE|GIT_SSL_CAINFO")
"""How this machine reaches the package index is no part of the rehearsal."""
LOOK_SECONDS = 0.02
"""Between one look at a program that may be killed and the next."""
KILLED = 137

Kill = Callable[[], bool]
"""Says that what runs is to be killed now."""


@dataclass
class Machine:
    """One job on its machine."""

    forge: Forge
    run_id: int
    folder: Path
    shared: Path
    token: str
    contexts: dict[str, Any]
    environment: dict[str, str]
    secrets: dict[str, str]
    path: list[str] = field(default_factory=lambda: [*PATH])

    @property
    def workspace(self) -> Path:
        """Where its steps run."""
        return self.folder / "work"

    def files(self, number: int) -> dict[str, str]:
        """Return the variables that name the files which a step may write, made empty."""
        named = (("output", "output"), ("env", "env"), ("path", "path"), ("step_summary", "summary"))
        found = {}
        for name, short in named:
            file = self.folder / f"{short}-{number}"
            file.touch()
            found[f"GITHUB_{name.upper()}"] = str(file)
        return found

    def take(self, number: int) -> dict[str, str]:
        """Take over what a step wrote into its files; return its outputs."""
        changed = _pairs(self.folder / f"env-{number}")
        self.environment |= changed
        self.contexts["env"] = {**self.contexts["env"], **changed}
        added = self.folder / f"path-{number}"
        if added.is_file():
            self.path[:0] = reversed(added.read_text(encoding="utf-8").split())
        return _pairs(self.folder / f"output-{number}")

    def summary(self) -> str:
        """Return what its steps wrote into their summaries."""
        return "".join(file.read_text(encoding="utf-8") for file in sorted(self.folder.glob("summary-*")))


def new(folder: Path, shared: Path, *, is_kept: bool) -> Path:
    """Make the folder of a machine; the workspace of one that is kept is the same for all its jobs."""
    for part in ("home", "temp"):
        (folder / part).mkdir(parents=True)
    if is_kept:
        (shared / STAYS).mkdir(exist_ok=True)
        (folder / "work").symlink_to(shared / STAYS)
    else:
        (folder / "work").mkdir()
    return folder


def told(folder: Path, github: Mapping[str, Any], token: str, job: str) -> dict[str, Any]:
    """Return the context `github` of a job, and write its event."""
    event = folder / "event.json"
    event.write_text(json.dumps(github["event"]), encoding="utf-8")
    more = {"token": token, "workspace": str(folder / "work"), "job": job, "event_path": str(event)}
    return {**github, **more}


def environment(github: Mapping[str, Any], folder: Path, installed: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a job begins with: GitHub's variables, and nothing of the one here."""
    told = {
        f"GITHUB_{key.upper()}": value for key, value in github.items() if isinstance(value, str) and key != "token"
    }
    passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    return {
        **passed,
        **told,
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(folder / "temp"),
        **installed,
    }


def execute(
    words: list[str], folder: Path, environment: Mapping[str, str], seconds: float, kill: Kill | None = None
) -> tuple[int, str]:
    """Run a program with all that it starts; return its exit code and what it printed."""
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        return 127, f"{words[0]}: not found"
    started = subprocess.Popen(
        [program, *words[1:]],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        try:
            log, _ = started.communicate(timeout=max(0.0, left if kill is None else min(left, LOOK_SECONDS)))
        except subprocess.TimeoutExpired:
            is_killed = kill is not None and kill()
            if not is_killed and time.monotonic() < until:
                continue
            os.killpg(started.pid, signal.SIGKILL)
            log, _ = started.communicate()
            if is_killed:
                return KILLED, f"{log}\nError: The runner has received a shutdown signal."
            return 124, f"{log}\nError: The operation was canceled after {seconds:.0f} s."
        return started.returncode, log.rstrip("\n")


def _pairs(file: Path) -> dict[str, str]:
    """Return what a step wrote as NAME=VALUE, or as NAME<<END, lines, END."""
    if not file.is_file():
        return {}
    lines, found = iter(file.read_text(encoding="utf-8").splitlines()), {}
    for line in lines:
        name, equals, value = line.partition("=")
        start, heredoc, end = line.partition("<<")
        if heredoc and "=" not in start:
            found[start] = _body(file, lines, start, end)
        elif equals:
            found[name] = value
        elif line:
            raise UnknownError(f"{file.name}: invalid format {line!r}")
    return found


def _body(file: Path, lines: Iterator[str], start: str, end: str) -> str:
    body: list[str] = []
    for line in lines:
        if line == end:
            return "\n".join(body)
        body.append(line)
    raise UnknownError(f"{file.name}: {start}<<{end}: without an end")
