"""What a stream needs of a broker, and which there are."""

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
"""The variable that holds the broker's URL where conf/stream must not: with a user and a password."""
CLIENTS = ("aio_pika", "aiokafka", "aiormq", "asyncio", "nats", "redis")
"""Loggers that would print tracebacks where nobody listens."""
WORDS = 120
"""Characters of an error that are told."""
BANNER = re.compile(r"(b['\"].{20}).*")
"""What a wrong server answers with, which a client may quote whole."""
Take = Callable[[Sequence[Event]], Awaitable[None]]
Pair = tuple[Record, Event]
"""What is published, and the event that it is of."""


async def _unread(message: Any) -> "StreamMessage[Any]":
    """Pass on a message as it came: what FastStream would read of it, an event from anywhere may have wrong."""
    from faststream import StreamMessage

    return StreamMessage(message, body=b"")


async def _itself(message: "StreamMessage[Any]") -> Any:
    return message.raw_message


MUTE: dict[str, Any] = {"parser": _unread, "decoder": _itself}
"""For subscribers: their handler gets what the client gave."""


class Broker(ABC):
    """A broker by FastStream. Each event that it hands on must be delivered: answered and acknowledged.

    Args:
        how: the section `stream` of the lock.
        url: where it is; it may hold a password.
        say: tells a person a line.
    """

    noise: ClassVar[tuple[str, ...]] = ()
    """Words of lines that its client logs, which are not told: the worker says the same."""

    def __init__(self, how: Stream, url: str, say: Callable[[str], None]) -> None:
        self.how, self.url, self.say = how, url, say
        self.lines = OneLine(say, self.noise)
        self.logger = logger(self.lines)
        self.fault = ""
        """What the client has said last, where it tries again by itself."""

    @property
    def address(self) -> str:
        """The URL as people may read it."""
        return masked(self.url)

    @abstractmethod
    async def connect(self) -> None:
        """Reach the broker, and make what lacks of streams and queues or see that they are there.

        Raises:
            MeritError: they lack and may not be made; anything else: it can't be reached.
        """

    @abstractmethod
    async def start(self, take: Take) -> None:
        """Hand on events from now on, a batch at a time."""

    @abstractmethod
    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish records; return of each what went wrong, or None once the broker has confirmed it.

        Raises:
            Exception: none was published, as far as is known.
        """

    @abstractmethod
    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge events; those that were acknowledged before may be among them."""

    @abstractmethod
    async def lag(self) -> float:
        """Return how many events wait in the broker, or are in hand, unacknowledged."""

    @abstractmethod
    async def stop(self) -> None:
        """Take no more events, and close the connection."""

    def told(self, error: BaseException) -> str:
        """Return why something failed, in one line without secrets."""
        told = BANNER.sub(r"\1...", masked(reason(error), (self.url,))) or type(error).__name__
        return told if len(told) <= WORDS else f"{told[:WORDS]}..."


def of(how: Stream, say: Callable[[str], None]) -> Broker:
    """Return the broker that conf/stream names.

    Raises:
        MeritError: its client is not installed, or MERIT_STREAM_URL is of another broker.
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
    """Import the one client that is needed: each takes its time."""
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
    """Tells each error of a client once in a while, in one line without its traceback.

    It tells none before it is opened: whoever starts a worker gets one line about what keeps it from starting.

    Args:
        say: tells a person a line.
        noise: a line that holds one of these is not told.
    """

    SECONDS = 30.0

    def __init__(self, say: Callable[[str], None], noise: Sequence[str] = ()) -> None:
        super().__init__(logging.WARNING)
        self.is_open = False
        self._say, self._noise = say, noise
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a line, unless it was told a moment ago."""
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
    """Return the logger that FastStream is given; what the clients log by themselves goes the same way."""
    for name in CLIENTS:
        own = logging.getLogger(name)
        own.handlers, own.propagate = [lines], False
    made = logging.Logger("merit.stream")
    made.addHandler(lines)
    return made
