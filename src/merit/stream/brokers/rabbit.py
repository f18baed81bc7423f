"""RabbitMQ: quorum queues; it delivers one message at a time, so batches are collected here."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity, ChannelPreconditionFailed
from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from merit.errors import MeritError
from merit.stream.brokers.interface import RAW_MESSAGE_OPTIONS, Broker, HandleBatch, RecordPair
from merit.stream.events import Event, Record, create_headers

NAME = "rabbit"
URL_SCHEMES = ("amqp", "amqps")
MAX_MESSAGE_ID_BYTES = 255
"""Bytes of a message id that AMQP allows."""


class Rabbit(Broker):
    """RabbitMQ by FastStream."""

    ignored_log_texts = ("Cancelling cause", "_on_close", "creating transport", "Reconnecting after", "Retrying after")

    async def connect(self) -> None:
        """Connect; create the queues or check that they exist."""
        settings = self.settings
        self._broker = RabbitBroker(
            self.url,
            logger=self.logger,
            apply_types=False,
            graceful_timeout=settings.answer_seconds,
            default_channel=Channel(prefetch_count=settings.max_in_flight, on_return_raises=True),
        )
        await self._broker.connect()
        for name in (settings.events, settings.answers, settings.dead_letters):
            try:
                await self._broker.declare_queue(self._create_queue(name))
            except ChannelNotFoundEntity as error:
                raise MeritError(f"stream: RabbitMQ has no queue {name}; make it, or set stream.declare") from error
            except ChannelPreconditionFailed as error:
                raise MeritError(
                    f"stream: RabbitMQ has a queue {name} of another kind ({self.describe_error(error)}); set "
                    "stream.declare to "
                    "false to take it as it is"
                ) from error

    def _create_queue(self, name: str) -> RabbitQueue:
        if not self.settings.declare:
            return RabbitQueue(name, declare=False)
        return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM)

    async def start(self, handle_batch: HandleBatch) -> None:
        """Start to collect messages into batches."""
        self._pending: asyncio.Queue[Event] = asyncio.Queue()
        self._collect_task = asyncio.create_task(self._collect_batches(handle_batch))
        subscriber = self._broker.subscriber(
            self._create_queue(self.settings.events), ack_policy=AckPolicy.MANUAL, no_reply=True, **RAW_MESSAGE_OPTIONS
        )

        async def handle(message: Any) -> None:
            self._pending.put_nowait(_create_event(message))

        subscriber(handle)
        await self._broker.start()

    async def _collect_batches(self, handle_batch: HandleBatch) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._pending.get()]
            deadline = loop.time() + self.settings.wait_ms / 1000
            while len(batch) < self.settings.rows and (remaining_s := deadline - loop.time()) > 0:
                try:
                    async with asyncio.timeout(remaining_s):
                        batch.append(await self._pending.get())
                except TimeoutError:
                    break
            await handle_batch(batch)

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish_record(*pair) for pair in pairs), return_exceptions=True)

    async def _publish_record(self, record: Record, event: Event) -> None:
        if not _is_channel_open(event.handle):  # it can't be acknowledged any more, so RabbitMQ redelivers it
            return
        queue = self.settings.dead_letters if record.cause else self.settings.answers
        message_headers: Any = create_headers(record, "merit-") if record.cause else None
        content_type = "application/octet-stream" if record.cause else "application/json"
        await self._broker.publish(
            record.body,
            queue,
            persist=True,
            message_id=shorten_key(record.key),
            headers=message_headers,
            content_type=content_type,
        )

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge messages, except those of a closed channel."""
        try:
            for event in events:
                if _is_channel_open(event.handle):
                    await event.handle.ack()
        except (AMQPError, RuntimeError) as error:
            self.logger.warning(
                "processed events can't be acknowledged and are redelivered: %s", self.describe_error(error)
            )

    async def read_lag(self) -> float:
        """Return the number of ready messages in the queue; RabbitMQ does not count unacknowledged ones here."""
        queue = await self._broker.declare_queue(RabbitQueue(self.settings.events, declare=False))
        channel = await queue.channel.get_underlay_channel()
        declared = await channel.queue_declare(self.settings.events, passive=True)
        return float(declared.message_count or 0)

    async def stop(self) -> None:
        """Close the connection; unacknowledged messages return to the queue."""
        self._collect_task.cancel()
        await self._broker.stop()


def shorten_key(key: str) -> str:
    """Return a key, or its hash if it exceeds the length of a message id."""
    raw = key.encode()
    return key if len(raw) <= MAX_MESSAGE_ID_BYTES else f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _is_channel_open(message: Any) -> bool:
    """Return whether the channel of a message is still open."""
    try:
        return not message.channel.is_closed
    except ChannelInvalidStateError:  # the property raises once the channel is closed
        return False


def _create_event(message: Any) -> Event:
    position = message.message_id or "sha256:" + hashlib.sha256(message.body).hexdigest()
    return Event(message.body, position, is_redelivered=bool(message.redelivered), handle=message)


BROKER = Rabbit
