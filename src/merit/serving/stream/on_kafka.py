"""Kafka: a group of consumers that commits what is answered; it does not tell what came before, so we assume it."""

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, MessageSizeTooLargeError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.serving.stream.brokers import MUTE, Broker, Pair, Take
from merit.serving.stream.events import SMALL, Event, Record, cut, headers

MECHANISMS = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
"""How a user is told to Kafka: kafkas://user:password@host:9093?mechanism=SCRAM-SHA-512."""


class Kafka(Broker):
    """Kafka by FastStream."""

    def __init__(self, how: Stream, url: str, say: Callable[[str], None]) -> None:
        super().__init__(how, url, say)
        self._seen: Counter[TopicPartition] = Counter()
        self._in_hand: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        self._done: dict[TopicPartition, int] = {}
        """The offset behind the last event that is answered, while others before it are in hand."""

    async def connect(self) -> None:
        """Reach the servers; make the topics, or see that they are there."""
        self._broker = made(self)
        await self._broker.connect()
        if not await self._broker.ping(timeout=self.how.connect_seconds):
            raise ConnectionError("no server answers")
        await self._topics()

    async def _topics(self) -> None:
        from aiokafka.admin import NewTopic

        admin = self._broker.config.broker_config.admin_client
        there = set(await admin.list_topics())
        lacking = [each for each in (self.how.events, self.how.answers, self.how.dead_letters) if each not in there]
        if lacking and not self.how.declare:
            raise MeritError(f"stream: Kafka has no topic {lacking[0]}; make it, or set stream.declare")
        if lacking:
            await admin.create_topics([NewTopic(each, num_partitions=1, replication_factor=-1) for each in lacking])

    async def start(self, take: Take) -> None:
        """Read batches one after the other."""
        self.subscribe(take)
        await self._broker.start()

    def subscribe(self, take: Take) -> None:
        """Have each batch handed on."""
        how = self.how
        self._subscriber = self._broker.subscriber(
            how.events,
            group_id=how.group,
            batch=True,
            batch_timeout_ms=how.wait_ms,
            max_records=how.rows,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            **MUTE,
        )

        async def handle(batch: Sequence[Any]) -> None:
            await take([self._event(record) for record in batch])

        self._subscriber(handle)

    def _event(self, record: Any) -> Event:
        """Return the event of a record; the first of each partition may be what the worker before died of."""
        partition = TopicPartition(record.topic, record.partition)
        self._seen[partition] += 1
        self._in_hand[partition].add(record.offset)
        place = f"{record.topic}:{record.partition}:{record.offset}"
        again = self._seen[partition] <= self.how.rows
        return Event(record.value or b"", place, again=again, handle=(partition, record.offset))

    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish all at once and await the confirmations."""
        return await asyncio.gather(*(self._publish(record) for record, _ in pairs), return_exceptions=True)

    async def _publish(self, record: Record) -> None:
        key = record.key.encode()
        if not record.cause:
            await self._broker.publish(record.body, self.how.answers, key=key)
            return
        try:
            told = headers(record, "merit-")
            await self._broker.publish(record.body, self.how.dead_letters, key=key, headers=told)
        except MessageSizeTooLargeError:  # an event as large as Kafka takes, and what is said of it
            less = cut(record, SMALL)
            told = headers(less, "merit-")
            await self._broker.publish(less.body, self.how.dead_letters, key=key, headers=told)

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Commit up to the first event of each partition that is still in hand."""
        reached: dict[TopicPartition, int] = {}
        for event in events:
            partition, offset = event.handle
            self._in_hand[partition].discard(offset)
            self._done[partition] = max(offset + 1, self._done.get(partition, 0))
        for partition in {event.handle[0] for event in events}:
            held = self._in_hand[partition]
            reached[partition] = min(held) if held else self._done.pop(partition)
        try:
            await self._subscriber.consumer.commit(reached)
        except (CommitFailedError, IllegalStateError):
            self.say("stream: Kafka gave what was in hand to another worker; both answer it, by the same keys")

    async def lag(self) -> float:
        """Return what this worker's partitions hold behind what is committed."""
        consumer = self._subscriber.consumer
        mine = list(consumer.assignment())
        ends = await consumer.end_offsets(mine) if mine else {}
        begun = await consumer.beginning_offsets(mine) if mine else {}
        committed = {each: await consumer.committed(each) for each in mine}
        return float(sum(ends[each] - (committed[each] or begun[each]) for each in mine))

    async def stop(self) -> None:
        """Leave the group and close the connection."""
        await self._broker.stop()


def made(kafka: Broker) -> KafkaBroker:
    """Return FastStream's broker: every server of the URL, with the confirmation of all replicas."""
    return KafkaBroker(
        servers(kafka.url),
        security=security(kafka.url),
        acks="all",
        enable_idempotence=True,
        logger=kafka.logger,
        apply_types=False,
        graceful_timeout=kafka.how.answer_seconds,
    )


def servers(url: str) -> list[str]:
    """Return the servers of kafka://user:password@host:9092,host:9092."""
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [host if ":" in host else f"{host}:9092" for host in hosts]


def security(url: str) -> BaseSecurity | None:
    """Return how the servers know who asks, and whether by TLS.

    Raises:
        MeritError: the mechanism is none that is known.
    """
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "kafkas" else None
    told, _, _ = parts.netloc.rpartition("@")
    if not told:
        return BaseSecurity(ssl_context=tls, use_ssl=True) if tls else None
    user, _, password = told.partition(":")
    mechanism = parse_qs(parts.query).get("mechanism", ["PLAIN"])[0]
    if mechanism not in MECHANISMS:
        raise MeritError(f"MERIT_STREAM_URL: no mechanism {mechanism!r}; allowed: {', '.join(MECHANISMS)}")
    kind = MECHANISMS[mechanism]
    return kind(username=unquote(user), password=unquote(password), ssl_context=tls, use_ssl=tls is not None)
