"""Requests over many connections at once, each answer kept by version: what a change of versions must not disturb."""

import asyncio
import json
import threading
import time
from collections import Counter
from types import TracebackType


class Load:
    """Sends a row over `connections` kept connections, again and again, for as long as the block runs.

    Attributes:
        failures: what went wrong: every answer but 200, and every connection that broke.
        answers: the time of each answer, by time.monotonic, and the version that gave it.
    """

    def __init__(self, port: int, row: dict, *, connections: int = 64, pause: float = 0.05) -> None:
        self.failures: list[str] = []
        self.answers: list[tuple[float, str]] = []
        self._port, self._connections, self._pause = port, connections, pause
        body = json.dumps(row).encode()
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()

    @property
    def versions(self) -> Counter[str]:
        """How many answers each version gave."""
        return Counter(version for _, version in self.answers)

    def first(self, version: str, since: float) -> float:
        """Return the seconds from a time to the first answer of a version after it."""
        return next(when for when, each in self.answers if each == version and when >= since) - since

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self._connections)))

    async def _one(self) -> None:
        reader = writer = None
        while not self._ends.is_set():
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(self._request)
                status, body = await asyncio.wait_for(_answer(reader), 30)
                if status != 200:
                    self.failures.append(f"{status} {body[:100]!r}")
                else:
                    self.answers.append((time.monotonic(), json.loads(body)["version"]))
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures.append(repr(error))
                reader = writer = None
            await asyncio.sleep(self._pause)
        if writer is not None:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    size = next(int(line.partition(":")[2]) for line in head if line.startswith("content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(size)
