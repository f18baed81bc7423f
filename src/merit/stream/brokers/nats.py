"""NATS JetStream: a durable pull consumer; message ids let JetStream drop duplicate predictions."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, Header, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from merit.errors import MeritError
from merit.stream.brokers.broker import MUTE, Broker, Pair, Take
from merit.stream.events import FAILED, SMALL, Event, Record, cut, dead, headers

WINDOW = 120.0
"""Seconds in which JetStream drops a record with the same message id."""
NEVER = -1
IDLE_SECONDS = 1.0
"""Seconds that one fetch waits for the first message."""
CUT = 128
"""Bytes reserved for the headers `size` and `digest` of a cut dead letter."""
TOO_LARGE = 10054
"""JetStream's error code for a message that exceeds the limit of its stream."""
LEAST_SECONDS = 0.001
"""The shortest remaining wait for which another fetch is worthwhile."""


class Nats(Broker):
    """NATS JetStream by FastStream."""

    noise = ("Connection broken",)
    _client: Client
    _js: JetStreamContext
    _stream: str
    _places: dict[str, str]

    async def connect(self) -> None:
        """Connect; find or create the streams that store the three subjects."""
        self._broker = NatsBroker(
            self.url,
            logger=self.logger,
            apply_types=False,
            graceful_timeout=self.how.answer_seconds,
            max_reconnect_attempts=NEVER,
            reconnect_time_wait=1,
            error_cb=self._failed,
        )
        self._client = await self._broker.connect()
        self._js = self._client.jetstream(timeout=self.how.answer_seconds / 2)
        subjects = (self.how.events, self.how.answers, self.how.dead_letters)
        self._places = {subject: await self._kept(subject) for subject in subjects}
        self._stream = self._places[self.how.events]

    async def _kept(self, subject: str) -> str:
        """Return the name of the stream that stores a subject; create it if `stream.declare` is true.

        Raises:
            MeritError: there is none, and `stream.declare` is false.
        """
        try:
            return await self._js.find_stream_name_by_subject(subject)
        except NotFoundError as error:
            if not self.how.declare:
                raise MeritError(
                    f"stream: no JetStream stream keeps the subject {subject}; make one, or set stream.declare"
                ) from error
        name = _named(subject)
        config = StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE, duplicate_window=WINDOW)
        await self._js.add_stream(config)
        return name

    async def start(self, take: Take) -> None:
        """Fetch batches one after another."""
        how = self.how
        config = ConsumerConfig(
            ack_wait=how.answer_seconds, max_ack_pending=how.max_in_flight, max_deliver=NEVER, filter_subject=how.events
        )
        subscriber = self._broker.subscriber(
            how.events,
            stream=JStream(self._stream, declare=False),
            durable=self._durable,
            config=config,
            pull_sub=PullSub(batch_size=how.rows, timeout=0.001, batch=True),  # `_fetched` has its own times
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            **MUTE,
        )

        async def handle(batch: list[Any]) -> None:
            await take([_event(message) for message in batch])
            for message in batch:
                if not message._ackd:  # the worker stops: redeliver it to another at once
                    await message.nak()

        subscriber(handle)
        self._have_batches_filled()
        await self._broker.start()

    def _have_batches_filled(self) -> None:
        """Replace the fetch method of the client's subscriptions with `_fetched`.

        FastStream expects the client's own TimeoutError. On asyncio's it would lose the messages it has fetched, until
        JetStream redelivers them. It would also poll every few milliseconds while there are no messages.
        """
        js = self._broker.config.broker_config.connection_state.stream
        subscribe = js.pull_subscribe

        async def pull_subscribe(*args: Any, **options: Any) -> JetStreamContext.PullSubscription:
            made = await subscribe(*args, **options)
            setattr(made, "fetch", functools.partial(_fetched, made.fetch, self.how.wait_ms / 1000))  # noqa: B010
            return made

        setattr(js, "pull_subscribe", pull_subscribe)  # noqa: B010  # mypy lets no method be assigned

    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish(*pair) for pair in pairs), return_exceptions=True)

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge messages."""
        for event in events:
            if not event.handle._ackd:
                await event.handle.ack()

    async def _publish(self, record: Record, event: Event) -> None:
        if not record.cause:
            if await self._answered(record):
                return
            told = f"its answer has {len(record.body)} bytes, more than the server or the stream of answers takes"
            record = dead(event, FAILED, told, record.key)
        try:
            await self._bury(record, event)
        except APIError as error:
            if error.err_code != TOO_LARGE:
                raise
            await self._bury(cut(record, SMALL), event)  # the limit of the stream is lower than that of the server

    async def _answered(self, record: Record) -> bool:
        """Publish a prediction; return False if it is too large."""
        subject = self.how.answers
        told = {Header.MSG_ID.value: record.key, Header.EXPECTED_STREAM.value: self._places[subject]}
        if len(record.body) + _length(told) > self._client.max_payload:
            return False
        try:
            await self._js.publish(subject, record.body, headers=told)
        except APIError as error:
            if error.err_code != TOO_LARGE:
                raise
            return False
        return True

    async def _bury(self, record: Record, event: Event) -> None:
        """Publish a dead letter, with its body cut to what fits beside the headers.

        A message one byte over the limit would make the server close the connection.
        """
        subject, most = self.how.dead_letters, self._client.max_payload
        letter = replace(record, reason=record.reason[: most // 8])
        # The key of the event may be invalid, so the message id of a dead letter is the position of the event.
        told = {
            Header.MSG_ID.value: event.place, Header.EXPECTED_STREAM.value: self._places[subject],
            "Merit-Id": record.key,
        }  # fmt: skip
        letter = cut(letter, most - _length(told | headers(letter, "Merit-")) - CUT)
        told |= {name.title(): value for name, value in headers(letter, "Merit-").items()}
        await self._js.publish(subject, letter.body, headers=told)

    async def lag(self) -> float:
        """Return the number of undelivered and unacknowledged messages of the consumer."""
        if self._client.is_closed:
            why = f" ({self.fault})" if self.fault else ""
            raise MeritError(f"stream: {self.address} has closed the connection for good{why}; start again")
        try:
            told = await self._js.consumer_info(self._stream, self._durable)
        except NotFoundError as error:
            raise MeritError(
                f"stream: {self.address}: the consumer {self._durable} of the stream {self._stream} was removed; start "
                "again to make it anew"
            ) from error
        return float((told.num_pending or 0) + (told.num_ack_pending or 0))

    async def stop(self) -> None:
        """Close the connection."""
        await self._broker.stop()

    @property
    def _durable(self) -> str:
        return f"{self.how.group}-{_named(self.how.events)}"

    async def _failed(self, error: Exception) -> None:
        self.fault = self.told(error)


def _length(told: dict[str, str]) -> int:
    """Return the number of bytes of headers, which count towards the size limit of a message."""
    return len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n".encode()) for name, value in told.items())


async def _fetched(
    fetch: Callable[..., Awaitable[list[Any]]], wait: float, batch: int, timeout: float | None = None
) -> list[Any]:
    """Return a batch: the first message, and those that arrive within `wait` seconds after it.

    Args:
        fetch: the fetch method of the client.
        wait: seconds to fill the batch.
        batch: the maximum number of messages.
        timeout: ignored; FastStream passes it.

    Raises:
        NothingCame: no message arrived within `IDLE_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await fetch(batch, IDLE_SECONDS)
    except TimeoutError as error:
        raise NothingCame from error
    except NatsError:  # a closed connection fails at once, and FastStream would retry without a pause
        await asyncio.sleep(IDLE_SECONDS)
        raise
    until = loop.time() + wait
    while len(found) < batch and (left := until - loop.time()) > LEAST_SECONDS:
        try:
            found += await fetch(batch - len(found), left)
        except Exception:  # noqa: BLE001  # keep the fetched messages; the next call meets the error again
            break
    return found


def _named(subject: str) -> str:
    """Return a subject as the name of a stream or consumer, where dots, slashes and colons are not allowed."""
    return subject.replace(".", "-").replace("/", "-").replace(":", "-")


def _event(message: Any) -> Event:
    told = message.metadata
    place = f"{told.stream}:{told.sequence.stream}"
    return Event(message.data, place, again=told.num_delivered > 1, handle=message)
