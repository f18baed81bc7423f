"""Redis streams: a consumer group; pending entries of a dead worker are claimed by the others."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ResponseError

from merit.errors import MeritError
from merit.stream.brokers.interface import RAW_MESSAGE_OPTIONS, Broker, HandleBatch, RecordPair
from merit.stream.events import Event, Record, create_headers

NAME = "redis"
URL_SCHEMES = ("redis", "rediss")
EVENT_FIELD = b"data"
"""The field of an entry that holds the event."""
CONSUMER_EXPIRY_MS = 3_600_000
"""A consumer without pending entries that is idle for so long is removed."""

MAX_DISPLAYED = 40
"""Number of fields, and characters of each name, that a message shows of an entry without the field `data`."""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """The id of a stream entry, and its fields if it has no field `data`."""

    name: bytes
    other: dict[bytes, bytes]


class Redis(Broker):
    """Redis streams by FastStream."""

    ignored_log_texts = ("UNBLOCKED", "no longer exists", "Message fetch error: Connection")
    _client: AsyncRedis
    _in_flight: set[bytes]

    async def connect(self) -> None:
        """Connect; create the stream of events and its group, or check that they exist."""
        settings = self.settings
        self._broker = RedisBroker(
            self.url, logger=self.logger, apply_types=False, graceful_timeout=settings.answer_seconds, socket_timeout=30
        )
        self._client = await self._broker.connect()
        await self._client.ping()
        if not settings.declare and not await self._client.exists(settings.events):
            raise MeritError(f"stream: Redis has no stream {settings.events}; make it, or set stream.declare")
        try:
            # From the first entry on: entries added before the first worker started count too.
            await self._client.xgroup_create(settings.events, settings.group, id="0", mkstream=settings.declare)
        except ResponseError as error:
            # BUSYGROUP is the server's code for a group that exists; the client has no type for it.
            if "BUSYGROUP" not in str(error):
                raise
        for each in await self._client.xinfo_consumers(settings.events, settings.group):
            if not each["pending"] and each["idle"] > CONSUMER_EXPIRY_MS:
                await self._client.xgroup_delconsumer(settings.events, settings.group, each["name"])

    async def start(self, handle_batch: HandleBatch) -> None:
        """Read new entries, and claim those that have been pending with another worker for too long."""
        settings, consumer = self.settings, f"{socket.gethostname()}-{os.getpid()}"
        self._in_flight = set()
        new_entries = StreamSub(
            settings.events,
            group=settings.group,
            consumer=consumer,
            batch=True,
            max_records=settings.rows,
            polling_interval=1000,
        )
        pending_entries = StreamSub(
            settings.events, group=settings.group, consumer=consumer, batch=True, max_records=1,
            min_idle_time=settings.answer_seconds * 1000, polling_interval=1000,
        )  # fmt: skip

        for stream, is_redelivered in ((new_entries, False), (pending_entries, True)):
            self._subscribe(stream, handle_batch, is_redelivered=is_redelivered)
        await self._broker.start()

    def _subscribe(self, stream: StreamSub, handle_batch: HandleBatch, *, is_redelivered: bool) -> None:
        subscriber = self._broker.subscriber(
            stream=stream, ack_policy=AckPolicy.MANUAL, no_reply=True, **RAW_MESSAGE_OPTIONS
        )

        async def handle(batch: Any) -> None:
            entries = zip(batch["message_ids"], batch["data"], strict=True)
            # An entry in progress for longer than answer_seconds would be claimed again by this same worker.
            new_events = [
                _create_event(*entry, is_redelivered=is_redelivered)
                for entry in entries
                if entry[0] not in self._in_flight
            ]
            entry_names = {event.handle.name for event in new_events}
            self._in_flight |= entry_names
            try:
                if new_events:
                    await handle_batch(new_events)
            finally:
                self._in_flight -= entry_names

        subscriber(handle)

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        """Publish in one pipeline without a transaction: a refused entry must not stop the others."""
        settings = self.settings
        async with self._client.pipeline(transaction=False) as pipe:
            for record, event in pairs:
                pipe.xadd(settings.dead_letters if record.cause else settings.answers, _create_fields(record, event))
            results = await pipe.execute(raise_on_error=False)
        return [each if isinstance(each, Exception) else None for each in results]

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge all entries in one command."""
        await self._client.xack(self.settings.events, self.settings.group, *(event.handle.name for event in events))

    async def read_lag(self) -> float:
        """Return the number of entries that the group has not read or not acknowledged."""
        try:
            groups = await self._client.xinfo_groups(self.settings.events)
        except ResponseError as error:
            if "no such key" not in str(error):  # the server has no code of its own for it
                raise
            groups = []
        group = next((each for each in groups if each["name"] == self.settings.group.encode()), None)
        if group is None:
            raise MeritError(
                f"stream: {self.address}: the group {self.settings.group} of {self.settings.events} was removed; start "
                "again to "
                "create it"
            )
        unread = group.get("lag")  # null after entries were deleted
        return float("nan") if unread is None else float(unread + group["pending"])

    async def stop(self) -> None:
        """Close the connection."""
        await self._broker.stop()


def _create_event(name: bytes, fields: dict[bytes, bytes], *, is_redelivered: bool) -> Event:
    entry = StreamEntry(name, {} if EVENT_FIELD in fields else fields)
    fault = "" if EVENT_FIELD in fields else f"the entry has no field 'data'; it has {_render_names(fields)}"
    return Event(fields.get(EVENT_FIELD, b""), name.decode(), is_redelivered=is_redelivered, handle=entry, fault=fault)


def _render_names(fields: dict[bytes, bytes]) -> str:
    names = [name.decode(errors="backslashreplace")[:MAX_DISPLAYED] for name in fields]
    return ", ".join(names[:MAX_DISPLAYED]) + (
        f" and {len(names) - MAX_DISPLAYED} more" if len(names) > MAX_DISPLAYED else ""
    )


def _create_fields(record: Record, event: Event) -> Any:
    """Return the fields of a record; a dead letter without an event has its original fields, renamed on conflict."""
    if not record.cause:
        return {"id": record.key, EVENT_FIELD: record.body}
    own_fields = {b"id": record.key, **{name.encode(): header for name, header in create_headers(record, "").items()}}
    if not event.fault:
        return {**own_fields, EVENT_FIELD: record.body}
    return {
        **{b"entry-" + name if name in own_fields else name: value for name, value in event.handle.other.items()},
        **own_fields,
    }


BROKER = Redis
