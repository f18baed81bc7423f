"""The interface of a message broker, and the function that creates the configured one."""

import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from merit.config.schema.stream import SCHEMES, Stream
from merit.console.masking import masked
from merit.errors import MeritError, reason
from merit.stream.events import Event, Record

if TYPE_CHECKING:
    from faststream import StreamMessage

URL = "MERIT_STREAM_URL"
"""Environment variable for the URL of the broker, to keep user and password out of conf/stream."""
CLIENTS = ("aio_pika", "aiokafka", "aiormq", "asyncio", "nats", "redis")
"""Loggers of client libraries, which would print tracebacks to standard error."""
WORDS = 120
"""Characters of an error that a message shows."""
BANNER = re.compile(r"(b['\"].{20}).*")
"""Matches the reply of a server of another protocol, which a client may quote in full."""
Take = Callable[[Sequence[Event]], Awaitable[None]]
Pair = tuple[Record, Event]
"""A record to publish, and its event."""


async def _unread(message: Any) -> "StreamMessage[Any]":
    """Return a message with an empty body, so that FastStream does not parse an event, which may be malformed."""
    from faststream import StreamMessage

    return StreamMessage(message, body=b"")


async def _itself(message: "StreamMessage[Any]") -> Any:
    return message.raw_message


MUTE: dict[str, Any] = {"parser": _unread, "decoder": _itself}
"""Options of subscribers: the handler gets the raw message of the client library."""


class Broker(ABC):
    """A message broker, reached by FastStream.

    The consumer must publish a record for each event and then acknowledge the event.

    Args:
        how: the section `stream` of the lock.
        url: the URL of the broker; it may hold a password.
        say: shows a line to the user.
    """

    noise: ClassVar[tuple[str, ...]] = ()
    """Parts of log lines of the client library that are not shown, because the worker reports the same."""

    def __init__(self, how: Stream, url: str, say: Callable[[str], None]) -> None:
        self.how, self.url, self.say = how, url, say
        self.lines = OneLine(say, self.noise)
        self.logger = logger(self.lines)
        self.fault = ""
        """The last error of a client library that reconnects by itself."""

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return masked(self.url)

    @abstractmethod
    async def connect(self) -> None:
        """Connect, and create missing streams and queues or check that they exist.

        Raises:
            MeritError: a stream or queue is missing and `stream.declare` is false.
            Exception: the broker can't be reached; each client has its own types.
        """

    @abstractmethod
    async def start(self, take: Take) -> None:
        """Start to deliver batches of events to `take`."""

    @abstractmethod
    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish records; return for each an error, or None once the broker has confirmed it.

        Raises:
            Exception: no record is known to be published.
        """

    @abstractmethod
    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge events; must accept events that are acknowledged already."""

    @abstractmethod
    async def lag(self) -> float:
        """Return the number of events in the broker that are not acknowledged, queued or in progress."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop consuming and close the connection."""

    def told(self, error: BaseException) -> str:
        """Return the message of an error in one line, shortened and without secrets."""
        told = BANNER.sub(r"\1...", masked(reason(error), (self.url,))) or type(error).__name__
        return told if len(told) <= WORDS else f"{told[:WORDS]}..."


def of(how: Stream, say: Callable[[str], None]) -> Broker:
    """Return the broker that conf/stream configures.

    Raises:
        MeritError: its client library is not installed, or MERIT_STREAM_URL is the URL of another broker.
    """
    url = os.environ.get(URL) or how.url
    if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES[how.broker])):
        allowed = " or ".join(f"{scheme}://" for scheme in SCHEMES[how.broker])
        raise MeritError(f"{URL}: is no URL of {how.broker}, which stream.broker says; it begins with {allowed}")
    try:
        return _made(how, url, say)
    except ImportError as error:
        raise MeritError(
            f"stream: {how.broker} needs {error.name}, which is not installed; pip install 'merit-ml[stream]'"
        ) from error


def _made(how: Stream, url: str, say: Callable[[str], None]) -> Broker:
    """Return the broker; import only its client library, because imports are slow."""
    if how.broker == "nats":
        from merit.stream.brokers.nats import Nats

        return Nats(how, url, say)
    if how.broker == "redis":
        from merit.stream.brokers.redis import Redis

        return Redis(how, url, say)
    if how.broker == "rabbit":
        from merit.stream.brokers.rabbit import Rabbit

        return Rabbit(how, url, say)
    from merit.stream.brokers.kafka import Kafka

    return Kafka(how, url, say)


class OneLine(logging.Handler):
    """Logging handler that shows warnings of client libraries in one line, without tracebacks and at most every 30 s.

    It shows nothing until `is_open` is true, because a worker that can't start reports the reason itself.

    Args:
        say: shows a line to the user.
        noise: a line that contains one of these texts is not shown.
    """

    SECONDS = 30.0

    def __init__(self, say: Callable[[str], None], noise: Sequence[str] = ()) -> None:
        super().__init__(logging.WARNING)
        self.is_open = False
        self._say, self._noise = say, noise
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, unless the same line was shown within the last `SECONDS`."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage().partition("\n")[0]
        why = "" if error is None or str(error) in text else f": {reason(error)}"
        line = masked(text + why)[:300]
        if any(words in line for words in self._noise):
            return
        if self.is_open and record.created - self._told.get(line, -self.SECONDS) >= self.SECONDS:
            self._told[line] = record.created
            self._say(f"stream: {line}")


def logger(lines: OneLine) -> logging.Logger:
    """Return the logger for FastStream, and send the logs of the client libraries to the same handler."""
    for name in CLIENTS:
        own = logging.getLogger(name)
        own.handlers, own.propagate = [lines], False
    made = logging.Logger("merit.stream")
    made.addHandler(lines)
    return made
