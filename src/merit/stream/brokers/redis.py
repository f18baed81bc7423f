"""Redis streams: a consumer group; pending entries of a dead worker are claimed by the others."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis as Client
from redis.exceptions import ResponseError

from merit.errors import MeritError
from merit.stream.brokers.broker import MUTE, Broker, Pair, Take
from merit.stream.events import Event, Record, headers

FIELD = b"data"
"""The field of an entry that holds the event."""
FORGOTTEN_MS = 3_600_000
"""A consumer without pending entries that is idle for so long is removed."""

SHOWN = 40
"""Number of fields, and characters of each name, that a message shows of an entry without the field `data`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The id of a stream entry, and its fields if it has no field `data`."""

    name: bytes
    other: dict[bytes, bytes]


class Redis(Broker):
    """Redis streams by FastStream."""

    noise = ("UNBLOCKED", "no longer exists", "Message fetch error: Connection")
    _client: Client
    _in_hand: set[bytes]

    async def connect(self) -> None:
        """Connect; create the stream of events and its group, or check that they exist."""
        how = self.how
        self._broker = RedisBroker(
            self.url, logger=self.logger, apply_types=False, graceful_timeout=how.answer_seconds, socket_timeout=30
        )
        self._client = await self._broker.connect()
        await self._client.ping()
        if not how.declare and not await self._client.exists(how.events):
            raise MeritError(f"stream: Redis has no stream {how.events}; make it, or set stream.declare")
        try:
            # From the first entry on: entries added before the first worker started count too.
            await self._client.xgroup_create(how.events, how.group, id="0", mkstream=how.declare)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        for each in await self._client.xinfo_consumers(how.events, how.group):
            if not each["pending"] and each["idle"] > FORGOTTEN_MS:
                await self._client.xgroup_delconsumer(how.events, how.group, each["name"])

    async def start(self, take: Take) -> None:
        """Read new entries, and claim those that have been pending with another worker for too long."""
        how, me = self.how, f"{socket.gethostname()}-{os.getpid()}"
        self._in_hand = set()
        new = StreamSub(
            how.events, group=how.group, consumer=me, batch=True, max_records=how.rows, polling_interval=1000
        )
        left = StreamSub(
            how.events, group=how.group, consumer=me, batch=True, max_records=1,
            min_idle_time=how.answer_seconds * 1000, polling_interval=1000,
        )  # fmt: skip

        for stream, again in ((new, False), (left, True)):
            self._subscribe(stream, take, again=again)
        await self._broker.start()

    def _subscribe(self, stream: StreamSub, take: Take, *, again: bool) -> None:
        subscriber = self._broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL, no_reply=True, **MUTE)

        async def handle(batch: Any) -> None:
            entries = zip(batch["message_ids"], batch["data"], strict=True)
            # An entry in progress for longer than answer_seconds would be claimed again by this same worker.
            new = [_event(*entry, again=again) for entry in entries if entry[0] not in self._in_hand]
            names = {event.handle.name for event in new}
            self._in_hand |= names
            try:
                if new:
                    await take(new)
            finally:
                self._in_hand -= names

        subscriber(handle)

    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish in one pipeline without a transaction: a refused entry must not stop the others."""
        how = self.how
        async with self._client.pipeline(transaction=False) as pipe:
            for record, event in pairs:
                pipe.xadd(how.dead_letters if record.cause else how.answers, _fields(record, event))
            told = await pipe.execute(raise_on_error=False)
        return [each if isinstance(each, Exception) else None for each in told]

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge all entries in one command."""
        await self._client.xack(self.how.events, self.how.group, *(event.handle.name for event in events))

    async def lag(self) -> float:
        """Return the number of entries that the group has not read or not acknowledged."""
        try:
            groups = await self._client.xinfo_groups(self.how.events)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            groups = []
        mine = next((each for each in groups if each["name"] == self.how.group.encode()), None)
        if mine is None:
            raise MeritError(
                f"stream: {self.address}: the group {self.how.group} of {self.how.events} was removed; start again to "
                "make it anew"
            )
        unread = mine.get("lag")  # null after entries were deleted
        return float("nan") if unread is None else float(unread + mine["pending"])

    async def stop(self) -> None:
        """Close the connection."""
        await self._broker.stop()


def _event(name: bytes, fields: dict[bytes, bytes], *, again: bool) -> Event:
    entry = Entry(name, {} if FIELD in fields else fields)
    fault = "" if FIELD in fields else f"the entry has no field 'data'; it has {_listed(fields)}"
    return Event(fields.get(FIELD, b""), name.decode(), again=again, handle=entry, fault=fault)


def _listed(fields: dict[bytes, bytes]) -> str:
    names = [name.decode(errors="backslashreplace")[:SHOWN] for name in fields]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _fields(record: Record, event: Event) -> Any:
    """Return the fields of a record; a dead letter without an event has its original fields, renamed on conflict."""
    if not record.cause:
        return {"id": record.key, FIELD: record.body}
    ours = {b"id": record.key, **{name.encode(): told for name, told in headers(record, "").items()}}
    if not event.fault:
        return {**ours, FIELD: record.body}
    return {**{b"entry-" + name if name in ours else name: value for name, value in event.handle.other.items()}, **ours}
