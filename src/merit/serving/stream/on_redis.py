"""Redis streams: a group of consumers; what one of them held when it died, the others claim."""

import os
import socket
from collections.abc import Sequence
from typing import Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis as Client
from redis.exceptions import ResponseError

from merit.errors import MeritError
from merit.serving.stream.brokers import MUTE, Broker, Take
from merit.serving.stream.events import Event, Record

FIELD = b"data"
"""The field of an entry that is the event."""
FORGOTTEN_MS = 3_600_000
"""A consumer that holds nothing and has asked for nothing for so long is gone."""


class Redis(Broker):
    """Redis streams by FastStream."""

    _client: Client

    async def connect(self) -> None:
        """Reach the server; make the stream of events and its group, or see that they are there."""
        how = self.how
        self._broker = RedisBroker(
            self.url, logger=self.logger, apply_types=False, graceful_timeout=how.answer_seconds, socket_timeout=30
        )
        self._client = await self._broker.connect()
        await self._client.ping()
        if not how.declare and not await self._client.exists(how.events):
            raise MeritError(f"stream: Redis has no stream {how.events}; make it, or set stream.declare")
        try:
            # From the first entry on: those that came before the first worker did count as well.
            await self._client.xgroup_create(how.events, how.group, id="0", mkstream=how.declare)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        for each in await self._client.xinfo_consumers(how.events, how.group):
            if not each["pending"] and each["idle"] > FORGOTTEN_MS:
                await self._client.xgroup_delconsumer(how.events, how.group, each["name"])

    async def start(self, take: Take) -> None:
        """Read what is new, and claim what another worker has held for too long."""
        how, me = self.how, f"{socket.gethostname()}-{os.getpid()}"
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
            await take([_event(name, fields, again=again) for name, fields in entries])

        subscriber(handle)

    async def deliver(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Publish, then acknowledge: a transaction would acknowledge what it could not publish."""
        how = self.how
        async with self._client.pipeline(transaction=False) as pipe:
            for record in records:
                told: Any = {"id": record.key, FIELD: record.body}
                if record.cause:
                    told |= {"cause": record.cause, "reason": record.reason}
                pipe.xadd(how.dead_letters if record.cause else how.answers, told)
            await pipe.execute()
        await self._client.xack(how.events, how.group, *(event.handle for event in events))

    async def lag(self) -> float:
        """Return what the group has not read, and what it has not acknowledged."""
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
        unread = mine.get("lag")  # null where entries were deleted
        return float("nan") if unread is None else float(unread + mine["pending"])

    async def stop(self) -> None:
        """Close the connection."""
        await self._broker.stop()


def _event(name: bytes, fields: dict[bytes, bytes], *, again: bool) -> Event:
    # Without the field there is no event: empty, it becomes a dead letter that says so.
    return Event(fields.get(FIELD, b""), name.decode(), again=again, handle=name)
