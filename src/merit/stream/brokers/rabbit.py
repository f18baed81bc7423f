"""RabbitMQ: quorum queues; it delivers one message at a time, so batches are collected here."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity, ChannelPreconditionFailed
from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from merit.errors import MeritError
from merit.stream.brokers.broker import MUTE, Broker, Pair, Take
from merit.stream.events import Event, Record, headers

NAME_BYTES = 255
"""Bytes of a message id that AMQP allows."""


class Rabbit(Broker):
    """RabbitMQ by FastStream."""

    noise = ("Cancelling cause", "_on_close", "creating transport", "Reconnecting after", "Retrying after")

    async def connect(self) -> None:
        """Connect; create the queues or check that they exist."""
        how = self.how
        self._broker = RabbitBroker(
            self.url,
            logger=self.logger,
            apply_types=False,
            graceful_timeout=how.answer_seconds,
            default_channel=Channel(prefetch_count=how.max_in_flight, on_return_raises=True),
        )
        await self._broker.connect()
        for name in (how.events, how.answers, how.dead_letters):
            try:
                await self._broker.declare_queue(self._queue(name))
            except ChannelNotFoundEntity as error:
                raise MeritError(f"stream: RabbitMQ has no queue {name}; make it, or set stream.declare") from error
            except ChannelPreconditionFailed as error:
                raise MeritError(
                    f"stream: RabbitMQ has a queue {name} of another kind ({self.told(error)}); set stream.declare to "
                    "false to take it as it is"
                ) from error

    def _queue(self, name: str) -> RabbitQueue:
        if not self.how.declare:
            return RabbitQueue(name, declare=False)
        return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM)

    async def start(self, take: Take) -> None:
        """Start to collect messages into batches."""
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()
        self._collecting = asyncio.create_task(self._collect(take))
        subscriber = self._broker.subscriber(
            self._queue(self.how.events), ack_policy=AckPolicy.MANUAL, no_reply=True, **MUTE
        )

        async def handle(message: Any) -> None:
            self._waiting.put_nowait(_event(message))

        subscriber(handle)
        await self._broker.start()

    async def _collect(self, take: Take) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            until = loop.time() + self.how.wait_ms / 1000
            while len(batch) < self.how.rows and (left := until - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left):
                        batch.append(await self._waiting.get())
                except TimeoutError:
                    break
            await take(batch)

    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish(*pair) for pair in pairs), return_exceptions=True)

    async def _publish(self, record: Record, event: Event) -> None:
        if not _is_here(event.handle):  # it can't be acknowledged any more, so RabbitMQ redelivers it
            return
        queue = self.how.dead_letters if record.cause else self.how.answers
        told: Any = headers(record, "merit-") if record.cause else None
        kind = "application/octet-stream" if record.cause else "application/json"
        await self._broker.publish(
            record.body, queue, persist=True, message_id=short(record.key), headers=told, content_type=kind
        )

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge messages, except those of a closed channel."""
        try:
            for event in events:
                if _is_here(event.handle):
                    await event.handle.ack()
        except (AMQPError, RuntimeError) as error:
            self.logger.warning("processed events can't be acknowledged and are redelivered: %s", self.told(error))

    async def lag(self) -> float:
        """Return the number of ready messages in the queue; RabbitMQ does not count unacknowledged ones here."""
        queue = await self._broker.declare_queue(RabbitQueue(self.how.events, declare=False))
        channel = await queue.channel.get_underlay_channel()
        told = await channel.queue_declare(self.how.events, passive=True)
        return float(told.message_count or 0)

    async def stop(self) -> None:
        """Close the connection; unacknowledged messages return to the queue."""
        self._collecting.cancel()
        await self._broker.stop()


def short(key: str) -> str:
    """Return a key, or its hash if it exceeds the length of a message id."""
    raw = key.encode()
    return key if len(raw) <= NAME_BYTES else f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _is_here(message: Any) -> bool:
    """Return whether the channel of a message is still open."""
    try:
        return not message.channel.is_closed
    except ChannelInvalidStateError:  # the property raises once the channel is closed
        return False


def _event(message: Any) -> Event:
    place = message.message_id or "sha256:" + hashlib.sha256(message.body).hexdigest()
    return Event(message.body, place, again=bool(message.redelivered), handle=message)
