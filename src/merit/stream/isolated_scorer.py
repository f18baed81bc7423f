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
from merit.serving.app.answers import Answers
from merit.stream.brokers.broker import URL
from merit.stream.events import KILLED, Event, Record, dead
from merit.stream.scorer import Scorer

LENGTH = struct.Struct(">I")
READY = LENGTH.pack(0)
START_SECONDS = 60.0
"""Seconds that the child has to load the package."""


class Alone:
    """Scores single events in a child process, which starts with the first event.

    Args:
        package: the folder of the package.
        version: its version.
        key: the field of an event that holds its id.
        tries: how many times an event may end the child before it becomes a dead letter.
        seconds: time limit of one event; then the child is killed.
    """

    def __init__(self, package: Path, version: str, key: str | None, *, tries: int, seconds: float) -> None:
        told = msgspec.json.encode([str(package), version, key]).decode()
        self._command = [sys.executable, "-m", "merit.stream.isolated_scorer", told]
        self._tries, self._seconds = tries, seconds
        self._child: asyncio.subprocess.Process | None = None

    async def score(self, event: Event) -> Record:
        """Return the prediction or dead letter of an event.

        Raises:
            OSError, asyncio.IncompleteReadError, TimeoutError: no child can be started, whatever the event.
        """
        ended = ""
        for _ in range(self._tries):
            child = await self._running()
            try:
                async with asyncio.timeout(self._seconds):
                    return await _asked(child, event)
            except TimeoutError:
                ended = f"took longer than {self._seconds:g} seconds"
            except (asyncio.IncompleteReadError, ConnectionError):
                ended = "ended"
            code = await self.close()
            if ended == "ended":
                ended = f"ended by {_told(code)}"
        return dead(event, KILLED, f"the process that scored it {ended}, {self._tries} times")

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

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            pipe = asyncio.subprocess.PIPE
            environment = {name: value for name, value in os.environ.items() if name != URL}
            self._child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, env=environment)
            assert self._child.stdout is not None
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._child.stdout.readexactly(len(READY))
            except BaseException:
                await self.close()
                raise
        return self._child


async def _asked(child: asyncio.subprocess.Process, event: Event) -> Record:
    assert child.stdin is not None
    assert child.stdout is not None
    asked = msgspec.json.encode([event.raw, event.place, event.fault])
    child.stdin.write(LENGTH.pack(len(asked)) + asked)
    await child.stdin.drain()
    (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
    return msgspec.json.decode(await child.stdout.readexactly(length), type=Record)


def _told(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main(told: str) -> None:
    """Score events from standard input to standard output, one after another, until the input ends.

    Args:
        told: a JSON array of the package folder, its version, and the field that holds the id of an event.
    """
    folder, version, key = msgspec.json.decode(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the worker, which stops this child
    package = Package.load(Path(folder))
    scorer = Scorer(Answers(package, version, 1), [each["name"] for each in package.inputs], key)
    taken, given = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's prints must not mix with the records
    given.write(READY)
    given.flush()
    while (asked := _read(taken)) is not None:
        raw, place, fault = asked
        (record,) = scorer.score([Event(raw, place, fault=fault)])
        body = msgspec.json.encode(record)
        given.write(LENGTH.pack(len(body)) + body)
        given.flush()


def _read(stream: BinaryIO) -> tuple[bytes, str, str] | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return msgspec.json.decode(stream.read(LENGTH.unpack(head)[0]), type=tuple[bytes, str, str])


if __name__ == "__main__":
    main(sys.argv[1])
