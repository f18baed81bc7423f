"""Events that were given to a worker before: scored one by one in a process of their own, which they may kill.

Whoever gets the events of a worker that died can't know which of them it died of. The child shows it.
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
"""The time in which the child must have loaded the package."""


class Alone:
    """Scores an event in a child process, which is started when it is first needed.

    Args:
        package: the folder of the model.
        version: its version.
        key: the field of an event that names it.
        tries: how many children an event may kill before it is told to be what kills them.
        seconds: how long one event may take; then the child is killed.
    """

    def __init__(self, package: Path, version: str, key: str | None, *, tries: int, seconds: float) -> None:
        told = msgspec.json.encode([str(package), version, key]).decode()
        self._command = [sys.executable, "-m", "merit.stream.isolated_scorer", told]
        self._tries, self._seconds = tries, seconds
        self._child: asyncio.subprocess.Process | None = None

    async def score(self, event: Event) -> Record:
        """Return the record of an event.

        Raises:
            OSError, asyncio.IncompleteReadError, TimeoutError: no child can be started; that is not the event's doing.
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
        """End the child, if there is one; return its exit code."""
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
    """Answer one event after the other, from standard input to standard output, until there is no more."""
    folder, version, key = msgspec.json.decode(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the worker as well, which ends this one
    package = Package.load(Path(folder))
    scorer = Scorer(Answers(package, version, 1), [each["name"] for each in package.inputs], key)
    taken, given = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library may print is no answer
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
