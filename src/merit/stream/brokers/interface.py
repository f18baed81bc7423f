"""The interface of a message broker, and the log of its client library."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from merit.config.schema.stream import Stream
from merit.console.masking import mask_secrets
from merit.errors import describe_cause
from merit.stream.events import Event, Record

if TYPE_CHECKING:
    from faststream import StreamMessage

CLIENT_LOGGERS = ("aio_pika", "aiokafka", "aiormq", "asyncio", "nats", "redis")
"""Loggers of client libraries, which would print tracebacks to standard error."""
MAX_ERROR_CHARACTERS = 120
"""Characters of an error that a message shows."""
BANNER_PATTERN = re.compile(r"(b['\"].{20}).*")
"""Matches the reply of a server of another protocol, which a client may quote in full."""
HandleBatch = Callable[[Sequence[Event]], Awaitable[None]]
RecordPair = tuple[Record, Event]
"""A record to publish, and its event."""


async def _skip_parsing(message: Any) -> "StreamMessage[Any]":
    """Return a message with an empty body, so that FastStream does not parse an event, which may be malformed."""
    from faststream import StreamMessage

    return StreamMessage(message, body=b"")


async def _return_raw(message: "StreamMessage[Any]") -> Any:
    return message.raw_message


RAW_MESSAGE_OPTIONS: dict[str, Any] = {"parser": _skip_parsing, "decoder": _return_raw}
"""Options of subscribers: the handler gets the raw message of the client library."""


class Broker(ABC):
    """A message broker, reached by FastStream.

    The consumer must publish a record for each event and then acknowledge the event.

    Args:
        settings: the section `stream` of the lock.
        url: the URL of the broker; it may hold a password.
        show_line: shows a line to the user.
    """

    ignored_log_texts: ClassVar[tuple[str, ...]] = ()
    """Parts of log lines of the client library that are not shown, because the worker reports the same."""

    def __init__(self, settings: Stream, url: str, show_line: Callable[[str], None]) -> None:
        self.settings, self.url, self.show_line = settings, url, show_line
        self.log_handler = ThrottledLogHandler(show_line, self.ignored_log_texts)
        self.logger = create_logger(self.log_handler)
        self.last_error = ""
        """The last error of a client library that reconnects by itself."""

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return mask_secrets(self.url)

    @abstractmethod
    async def connect(self) -> None:
        """Connect, and create missing streams and queues or check that they exist.

        Raises:
            MeritError: a stream or queue is missing and `stream.declare` is false.
            Exception: the broker can't be reached; each client has its own types.
        """

    @abstractmethod
    async def start(self, handle_batch: HandleBatch) -> None:
        """Start to deliver batches of events to `handle_batch`."""

    @abstractmethod
    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        """Publish records; return for each an error, or None once the broker has confirmed it.

        Raises:
            Exception: no record is known to be published.
        """

    @abstractmethod
    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge events; must accept events that are acknowledged already."""

    @abstractmethod
    async def read_lag(self) -> float:
        """Return the number of events in the broker that are not acknowledged, queued or in progress."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop consuming and close the connection."""

    def describe_error(self, error: BaseException) -> str:
        """Return the message of an error in one line, shortened and without secrets."""
        message = BANNER_PATTERN.sub(r"\1...", mask_secrets(describe_cause(error), (self.url,))) or type(error).__name__
        return message if len(message) <= MAX_ERROR_CHARACTERS else f"{message[:MAX_ERROR_CHARACTERS]}..."


class ThrottledLogHandler(logging.Handler):
    """Logging handler that shows warnings of client libraries in one line, without tracebacks and at most every 30 s.

    It shows nothing until `is_open` is true, because a worker that can't start reports the reason itself.

    Args:
        show_line: shows a line to the user.
        ignored_texts: a line that contains one of these texts is not shown.
    """

    REPEAT_INTERVAL_S = 30.0

    def __init__(self, show_line: Callable[[str], None], ignored_texts: Sequence[str] = ()) -> None:
        super().__init__(logging.WARNING)
        self.is_open = False
        self._show_line, self._ignored_texts = show_line, ignored_texts
        self._shown_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, unless the same line was shown within the last `REPEAT_INTERVAL_S`."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage().partition("\n")[0]
        suffix = "" if error is None or str(error) in text else f": {describe_cause(error)}"
        line = mask_secrets(text + suffix)[:300]
        if any(ignored_text in line for ignored_text in self._ignored_texts):
            return
        if (
            self.is_open
            and record.created - self._shown_at.get(line, -self.REPEAT_INTERVAL_S) >= self.REPEAT_INTERVAL_S
        ):
            self._shown_at[line] = record.created
            self._show_line(f"stream: {line}")


def create_logger(handler: ThrottledLogHandler) -> logging.Logger:
    """Return the logger for FastStream, and send the logs of the client libraries to the same handler."""
    for name in CLIENT_LOGGERS:
        client_logger = logging.getLogger(name)
        client_logger.handlers, client_logger.propagate = [handler], False
    stream_logger = logging.Logger("merit.stream")
    stream_logger.addHandler(handler)
    return stream_logger
