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
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, Header, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from merit.errors import MeritError
from merit.stream import faststream_adapter
from merit.stream.brokers.interface import RAW_MESSAGE_OPTIONS, Broker, HandleBatch, RecordPair
from merit.stream.events import (
    FAILED,
    MAX_TRUNCATED_BYTES,
    Event,
    Record,
    create_dead_letter,
    create_headers,
    truncate_record,
)

NAME = "nats"
URL_SCHEMES = ("nats", "tls")
DUPLICATE_WINDOW_S = 120.0
"""Seconds in which JetStream drops a record with the same message id."""
UNLIMITED = -1
FETCH_TIMEOUT_S = 1.0
"""Seconds that one fetch waits for the first message."""
TRUNCATION_HEADER_BYTES = 128
"""Bytes reserved for the headers `size` and `digest` of a cut dead letter."""
MESSAGE_TOO_LARGE_CODE = 10054
"""JetStream's error code for a message that exceeds the limit of its stream."""
MIN_FETCH_WAIT_S = 0.001
"""The shortest remaining wait for which another fetch is worthwhile."""


class Nats(Broker):
    """NATS JetStream by FastStream."""

    ignored_log_texts = ("Connection broken",)
    _client: Client
    _jetstream: JetStreamContext
    _events_stream: str
    _stream_names: dict[str, str]

    async def connect(self) -> None:
        """Connect; find or create the streams that store the three subjects."""
        self._broker = NatsBroker(
            self.url,
            logger=self.logger,
            apply_types=False,
            graceful_timeout=self.settings.answer_seconds,
            max_reconnect_attempts=UNLIMITED,
            reconnect_time_wait=1,
            error_cb=self._remember_error,
        )
        self._client = await self._broker.connect()
        self._jetstream = self._client.jetstream(timeout=self.settings.answer_seconds / 2)
        subjects = (self.settings.events, self.settings.answers, self.settings.dead_letters)
        self._stream_names = {subject: await self._ensure_stream(subject) for subject in subjects}
        self._events_stream = self._stream_names[self.settings.events]

    async def _ensure_stream(self, subject: str) -> str:
        """Return the name of the stream that stores a subject; create it if `stream.declare` is true.

        Raises:
            MeritError: there is none, and `stream.declare` is false.
        """
        try:
            return await self._jetstream.find_stream_name_by_subject(subject)
        except NotFoundError as error:
            if not self.settings.declare:
                raise MeritError(
                    f"stream: no JetStream stream keeps the subject {subject}; make one, or set stream.declare"
                ) from error
        name = _to_name(subject)
        config = StreamConfig(
            name=name, subjects=[subject], storage=StorageType.FILE, duplicate_window=DUPLICATE_WINDOW_S
        )
        await self._jetstream.add_stream(config)
        return name

    async def start(self, handle_batch: HandleBatch) -> None:
        """Fetch batches one after another."""
        settings = self.settings
        config = ConsumerConfig(
            ack_wait=settings.answer_seconds,
            max_ack_pending=settings.max_in_flight,
            max_deliver=UNLIMITED,
            filter_subject=settings.events,
        )
        subscriber = self._broker.subscriber(
            settings.events,
            stream=JStream(self._events_stream, declare=False),
            durable=self._consumer_name,
            config=config,
            pull_sub=PullSub(batch_size=settings.rows, timeout=0.001, batch=True),  # `_fetch_batch` has its own times
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            **RAW_MESSAGE_OPTIONS,
        )

        async def handle(batch: list[Any]) -> None:
            await handle_batch([_create_event(message) for message in batch])
            for message in batch:
                if not message.is_acked:  # the worker stops: redeliver it to another at once
                    await message.nak()

        subscriber(handle)
        self._replace_fetch()
        await self._broker.start()

    def _replace_fetch(self) -> None:
        """Replace the fetch method of the client's subscriptions with `_fetch_batch`.

        FastStream expects the client's own TimeoutError. On asyncio's it would lose the messages it has fetched, until
        JetStream redelivers them. It would also poll every few milliseconds while there are no messages.
        """
        jetstream = faststream_adapter.get_jetstream(self._broker)
        subscribe = jetstream.pull_subscribe

        async def pull_subscribe(*args: Any, **options: Any) -> JetStreamContext.PullSubscription:
            subscription = await subscribe(*args, **options)
            fetch = functools.partial(_fetch_batch, subscription.fetch, self.settings.wait_ms / 1000)
            setattr(subscription, "fetch", fetch)  # noqa: B010
            return subscription

        setattr(jetstream, "pull_subscribe", pull_subscribe)  # noqa: B010  # mypy lets no method be assigned

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish_record(*pair) for pair in pairs), return_exceptions=True)

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge messages."""
        for event in events:
            if not event.handle.is_acked:
                await event.handle.ack()

    async def _publish_record(self, record: Record, event: Event) -> None:
        if not record.cause:
            if await self._publish_prediction(record):
                return
            reason = f"its answer has {len(record.body)} bytes, more than the server or the stream of answers takes"
            record = create_dead_letter(event, FAILED, reason, record.key)
        try:
            await self._publish_dead_letter(record, event)
        except APIError as error:
            if error.err_code != MESSAGE_TOO_LARGE_CODE:
                raise
            await self._publish_dead_letter(
                truncate_record(record, MAX_TRUNCATED_BYTES), event
            )  # the limit of the stream is lower than that of the server

    async def _publish_prediction(self, record: Record) -> bool:
        """Publish a prediction; return False if it is too large."""
        subject = self.settings.answers
        message_headers = {Header.MSG_ID.value: record.key, Header.EXPECTED_STREAM.value: self._stream_names[subject]}
        if len(record.body) + _count_header_bytes(message_headers) > self._client.max_payload:
            return False
        try:
            await self._jetstream.publish(subject, record.body, headers=message_headers)
        except APIError as error:
            if error.err_code != MESSAGE_TOO_LARGE_CODE:
                raise
            return False
        return True

    async def _publish_dead_letter(self, record: Record, event: Event) -> None:
        """Publish a dead letter, with its body cut to what fits beside the headers.

        A message one byte over the limit would make the server close the connection.
        """
        subject, max_payload = self.settings.dead_letters, self._client.max_payload
        letter = replace(record, reason=record.reason[: max_payload // 8])
        # The key of the event may be invalid, so the message id of a dead letter is the position of the event.
        message_headers = {
            Header.MSG_ID.value: event.position, Header.EXPECTED_STREAM.value: self._stream_names[subject],
            "Merit-Id": record.key,
        }  # fmt: skip
        letter = truncate_record(
            letter,
            max_payload
            - _count_header_bytes(message_headers | create_headers(letter, "Merit-"))
            - TRUNCATION_HEADER_BYTES,
        )
        message_headers |= {name.title(): value for name, value in create_headers(letter, "Merit-").items()}
        await self._jetstream.publish(subject, letter.body, headers=message_headers)

    async def read_lag(self) -> float:
        """Return the number of undelivered and unacknowledged messages of the consumer."""
        if self._client.is_closed:
            detail = f" ({self.fault})" if self.fault else ""
            raise MeritError(f"stream: {self.address} has closed the connection for good{detail}; start again")
        try:
            info = await self._jetstream.consumer_info(self._events_stream, self._consumer_name)
        except NotFoundError as error:
            raise MeritError(
                f"stream: {self.address}: the consumer {self._consumer_name} of the stream {self._events_stream} was "
                "removed; start "
                "again to create it"
            ) from error
        return float((info.num_pending or 0) + (info.num_ack_pending or 0))

    async def stop(self) -> None:
        """Close the connection."""
        await self._broker.stop()

    @property
    def _consumer_name(self) -> str:
        return f"{self.settings.group}-{_to_name(self.settings.events)}"

    async def _remember_error(self, error: Exception) -> None:
        self.fault = self.describe_error(error)


def _count_header_bytes(message_headers: dict[str, str]) -> int:
    """Return the number of bytes of headers, which count towards the size limit of a message."""
    return len("NATS/1.0\r\n\r\n") + sum(
        len(f"{name}: {value}\r\n".encode()) for name, value in message_headers.items()
    )


async def _fetch_batch(
    fetch: Callable[..., Awaitable[list[Any]]], fill_timeout_s: float, batch: int, timeout: float | None = None
) -> list[Any]:
    """Return a batch: the first message, and those that arrive within `fill_timeout_s` seconds after it.

    Args:
        fetch: the fetch method of the client.
        fill_timeout_s: seconds to fill the batch.
        batch: the maximum number of messages.
        timeout: ignored; FastStream passes it.

    Raises:
        NothingCame: no message arrived within `FETCH_TIMEOUT_S`.
    """
    loop = asyncio.get_running_loop()
    try:
        messages = await fetch(batch, FETCH_TIMEOUT_S)
    except TimeoutError as error:
        raise NatsTimeoutError from error
    except NatsError:  # a closed connection fails at once, and FastStream would retry without a pause
        await asyncio.sleep(FETCH_TIMEOUT_S)
        raise
    deadline = loop.time() + fill_timeout_s
    while len(messages) < batch and (remaining_s := deadline - loop.time()) > MIN_FETCH_WAIT_S:
        try:
            messages += await fetch(batch - len(messages), remaining_s)
        except Exception:  # noqa: BLE001  # keep the fetched messages; the next call meets the error again
            break
    return messages


def _to_name(subject: str) -> str:
    """Return a subject as the name of a stream or consumer, where dots, slashes and colons are not allowed."""
    return subject.replace(".", "-").replace("/", "-").replace(":", "-")


def _create_event(message: Any) -> Event:
    metadata = message.metadata
    position = f"{metadata.stream}:{metadata.sequence.stream}"
    return Event(message.data, position, is_redelivered=metadata.num_delivered > 1, handle=message)


BROKER = Nats
