"""Brokers of a test's own, on loopback: NATS, Redis and RabbitMQ from Debian, and what speaks Kafka's protocol.

Also a worker of `merit stream`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.endpoint import free_port


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {name}); .ci/run installs it")
    return found


class Server:
    """A broker that can be killed and started again on what it had."""

    def __init__(
        self,
        command: list[str],
        port: int,
        log: Path,
        environment: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.user = user
        self.command, self.port, self.log = command, port, log
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=self.environment,
                user=self.user,
                cwd=self.log.parent,
                start_new_session=True,
            )
        until(lambda: listens(self.port), f"{self.command[0]} does not listen: {self.log.read_text()}", seconds=60)

    def kill(self) -> None:
        """End it and all it has started, without a warning."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


def until(holds: Callable[[], bool], words: str, seconds: float = 30) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, words
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Say whether somebody listens on a port of this machine."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Have a server run."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def nats(folder: Path) -> Iterator[Server]:
    """Run NATS with JetStream, which keeps its streams in a folder."""
    port = free_port()
    command = [_program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with running(Server(command, port, folder / "log")) as server:
        yield server


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """Run Redis, which writes each change to a file in a folder."""
    port = free_port()
    options = ["--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    with running(Server([_program("redis-server"), "--port", str(port), *options], port, folder / "log")) as server:
        yield server


@contextmanager
def rabbit() -> Iterator[Server]:
    """Run RabbitMQ, and the daemon that Erlang's nodes find one another by, both on loopback alone."""
    _program("rabbitmq-server")
    port, names = free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="merit-rabbit-"))
    user = "rabbitmq" if os.geteuid() == 0 else None  # Debian's own program would become that user, out of our reach
    if user:
        shutil.chown(folder, user)
    told = {
        "HOME": str(folder),
        "PATH": f"/usr/lib/rabbitmq/bin{os.pathsep}{os.environ['PATH']}",
        "RABBITMQ_NODENAME": f"merit{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
    }
    daemon = Server([_program("epmd"), "-port", str(names)], names, folder / "names.log", told, user)
    server = Server(["/usr/lib/rabbitmq/bin/rabbitmq-server"], port, folder / "server.log", told, user)
    try:
        with running(daemon), running(server):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Kafka:
    """The mock cluster of librdkafka in a process of its own; it can go away, and come back with what it had."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process, self.port = process, int(process.stdout.readline())

    def do(self, *told: str) -> None:
        """Have it do what one of its methods says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*told, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def kill(self) -> None:
        """Close each connection, and take no other."""
        self.do("down")

    def start(self) -> None:
        """Take connections again."""
        self.do("up")


@contextmanager
def kafka() -> Iterator[Kafka]:
    """Run what speaks Kafka's protocol; Debian has no Kafka."""
    command = [sys.executable, str(Path(__file__).with_name("mock_kafka.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Kafka(process)
        finally:
            process.kill()


class Worker:
    """A `merit stream` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def said(self) -> str:
        """Return what it has told people."""
        return self.log.read_text(encoding="utf-8")

    def metric(self, name: str, labels: str = "") -> float:
        """Return the value of a metric; NaN where it doesn't show it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return float("nan")
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name}{labels} ")), float("nan"))

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)
