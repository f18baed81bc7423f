"""Scores redelivered events one by one in a child process, so that an event that crashes scoring kills only the child.

When a worker dies, the broker redelivers all its events, and nothing tells which of them crashed it. Scoring each alone
does.
"""

import asyncio
import contextlib
import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.stream.brokers.registry import URL_VARIABLE
from merit.stream.events import KILLED, Event, Record, create_dead_letter
from merit.stream.scorer import EventScorer

LENGTH_PREFIX = struct.Struct(">I")
READY_SIGNAL = LENGTH_PREFIX.pack(0)
START_TIMEOUT_S = 60.0
"""Seconds that the child has to load the package."""


class IsolatedScorer:
    """Scores single events in a child process, which starts with the first event.

    Args:
        package: the folder of the package.
        version: its version.
        key: the field of an event that holds its id.
        max_attempts: how many times an event may end the child before it becomes a dead letter.
        timeout_s: time limit of one event; then the child is killed.
    """

    def __init__(self, package: Path, version: str, key: str | None, *, max_attempts: int, timeout_s: float) -> None:
        arguments = msgspec.json.encode([str(package), version, key]).decode()
        self._command = [sys.executable, "-m", "merit.stream.isolated_scorer", arguments]
        self._max_attempts, self._timeout_s = max_attempts, timeout_s
        self._child: asyncio.subprocess.Process | None = None

    async def score(self, event: Event) -> Record:
        """Return the prediction or dead letter of an event.

        Raises:
            OSError, asyncio.IncompleteReadError, TimeoutError: no child can be started, whatever the event.
        """
        outcome = ""
        for _ in range(self._max_attempts):
            child = await self._ensure_child()
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await _request_record(child, event)
            except TimeoutError:
                outcome = f"took longer than {self._timeout_s:g} seconds"
            except (asyncio.IncompleteReadError, ConnectionError):
                outcome = "ended"
            exit_code = await self.close()
            if outcome == "ended":
                outcome = f"ended by {_describe_exit(exit_code)}"
        return create_dead_letter(event, KILLED, f"the process that scored it {outcome}, {self._max_attempts} times")

    async def close(self) -> int:
        """Stop the child, if there is one; return its exit code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(1):
                return await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            return await child.wait()

    async def _ensure_child(self) -> asyncio.subprocess.Process:
        if self._child is None:
            pipe = asyncio.subprocess.PIPE
            variables = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}
            self._child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, env=variables)
            assert self._child.stdout is not None
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await self._child.stdout.readexactly(len(READY_SIGNAL))
            except BaseException:
                await self.close()
                raise
        return self._child


async def _request_record(child: asyncio.subprocess.Process, event: Event) -> Record:
    assert child.stdin is not None
    assert child.stdout is not None
    request = msgspec.json.encode([event.raw, event.position, event.fault])
    child.stdin.write(LENGTH_PREFIX.pack(len(request)) + request)
    await child.stdin.drain()
    (length,) = LENGTH_PREFIX.unpack(await child.stdout.readexactly(LENGTH_PREFIX.size))
    return msgspec.json.decode(await child.stdout.readexactly(length), type=Record)


def _describe_exit(exit_code: int) -> str:
    return f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"


def main(arguments: str) -> None:
    """Score events from standard input to standard output, one after another, until the input ends.

    Args:
        arguments: a JSON array of the package folder, its version, and the field that holds the id of an event.
    """
    folder, version, key = msgspec.json.decode(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the worker, which stops this child
    package = Package.load(Path(folder))
    scorer = EventScorer(ServedModel(package, version, 1), [each["name"] for each in package.inputs], key)
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's prints must not mix with the records
    responses.write(READY_SIGNAL)
    responses.flush()
    while (request := _read_request(requests)) is not None:
        raw, position, fault = request
        (record,) = scorer.score([Event(raw, position, fault=fault)])
        body = msgspec.json.encode(record)
        responses.write(LENGTH_PREFIX.pack(len(body)) + body)
        responses.flush()


def _read_request(stream: BinaryIO) -> tuple[bytes, str, str] | None:
    head = stream.read(LENGTH_PREFIX.size)
    if len(head) < LENGTH_PREFIX.size:
        return None
    return msgspec.json.decode(stream.read(LENGTH_PREFIX.unpack(head)[0]), type=tuple[bytes, str, str])


if __name__ == "__main__":
    main(sys.argv[1])
