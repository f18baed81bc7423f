"""Kafka: a consumer group that commits the offsets of processed events.

Kafka does not tell which events it delivers again, so the first events of each partition are treated as redelivered.
"""

import asyncio
import contextlib
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, Topic
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.stream.brokers.broker import MUTE, Broker, Pair, Take
from merit.stream.events import SMALL, Event, Record, cut, headers

MECHANISMS = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
"""SASL mechanisms of a URL such as kafkas://user:password@host:9093?mechanism=SCRAM-SHA-512."""
JOINING = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds to wait after each failed attempt to join the group."""
HAND_OVER_SECONDS = 5.0
"""How long a rebalance waits for events in progress; Kafka itself would wait 10 s for a worker."""


class Kafka(Broker):
    """Kafka by FastStream."""

    noise = (
        "Error sending",
        "Failed fetch",
        "Group Coordinator Request failed",
        "Heartbeat",
        "Marking the coordinator dead",
        "OffsetCommit failed",
        "Unable to",
        "Unclosed AIOKafka",
    )

    def __init__(self, how: Stream, url: str, say: Callable[[str], None]) -> None:
        super().__init__(how, url, say)
        self._seen: Counter[TopicPartition] = Counter()
        self._in_hand: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        self._done: dict[TopicPartition, int] = {}
        """The offset after the highest processed event; earlier events may still be in progress."""
        self._committed: dict[TopicPartition, int] = {}
        """The committed offsets of the assigned partitions, as far as this worker knows."""

    async def connect(self) -> None:
        """Connect; create the topics or check that they exist."""
        self._broker = made(self)
        try:
            await self._reached()
        except BaseException:
            await self._broker.stop()
            raise

    async def _reached(self) -> None:
        await self._broker.connect()
        if not await self._broker.ping(timeout=self.how.connect_seconds):
            raise ConnectionError("no server answers")
        await self._topics(self._broker.config.broker_config.admin_client)

    async def _topics(self, admin: AIOKafkaAdminClient) -> None:
        there = set(await admin.list_topics())
        lacking = [each for each in (self.how.events, self.how.answers, self.how.dead_letters) if each not in there]
        if lacking and not self.how.declare:
            raise MeritError(f"stream: Kafka has no topic {lacking[0]}; make it, or set stream.declare")
        if lacking:
            await _make(admin, lacking)

    async def start(self, take: Take) -> None:
        """Join the group and read batches one after another.

        Joining is retried, because the group may still wait for a worker that died.

        Raises:
            MeritError: the group can't be joined.
        """
        why = ""
        self.subscribe(take)
        for wait in JOINING:
            try:
                return await self._broker.start()
            except KafkaError as error:
                why = self.told(error)
                await self._subscriber.stop()
            await asyncio.sleep(wait)
        raise MeritError(
            f"stream: {self.address}: the group {self.how.group} of {self.how.events} can't be joined ({why}); see "
            "whether the user may read the topic in that group"
        )

    def subscribe(self, take: Take) -> None:
        """Subscribe to the events topic; each batch goes to `take`."""
        how = self.how
        self._subscriber = self._broker.subscriber(
            Topic(how.events, declare=False),  # FastStream would create it with one replica
            group_id=how.group,
            batch=True,
            batch_timeout_ms=how.wait_ms,
            max_records=how.rows,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            listener=Partitions(self),
            **MUTE,
        )

        async def handle(batch: Sequence[Any]) -> None:
            await take([self._event(record) for record in batch])

        self._subscriber(handle)

    def _event(self, record: Any) -> Event:
        """Return the event of a Kafka record; the first of each partition may have killed the previous worker."""
        partition = TopicPartition(record.topic, record.partition)
        self._seen[partition] += 1
        self._in_hand[partition].add(record.offset)
        place = f"{record.topic}:{record.partition}:{record.offset}"
        again = self._seen[partition] <= self.how.rows
        return Event(record.value or b"", place, again=again, handle=(partition, record.offset))

    async def hand_over(self, partitions: Iterable[TopicPartition]) -> None:
        """Wait until the events of some partitions are done, so that no other worker repeats them; at most 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_SECONDS):
                while any(self._in_hand[each] for each in partitions):
                    await asyncio.sleep(0.02)

    def forget(self, all_but: set[TopicPartition]) -> None:
        """Drop the state of partitions that moved to other workers.

        When such a partition returns, its first events count as redelivered: they may have killed the other worker.

        Args:
            all_but: the partitions to keep.
        """
        self._seen = Counter({each: self._seen[each] for each in all_but})
        self._committed.clear()  # others may have committed more

    async def publish(self, pairs: Sequence[Pair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish(record) for record, _ in pairs), return_exceptions=True)

    async def _publish(self, record: Record) -> None:
        key = record.key.encode()
        if not record.cause:
            await self._broker.publish(record.body, self.how.answers, key=key)
            return
        try:
            told = headers(record, "merit-")
            await self._broker.publish(record.body, self.how.dead_letters, key=key, headers=told)
        except MessageSizeTooLargeError:  # the event fits the limit, but not together with its headers
            less = cut(record, SMALL)
            told = headers(less, "merit-")
            await self._broker.publish(less.body, self.how.dead_letters, key=key, headers=told)

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Commit each partition up to its first event that is still in progress."""
        reached: dict[TopicPartition, int] = {}
        for event in events:
            partition, offset = event.handle
            self._in_hand[partition].discard(offset)
            self._done[partition] = max(offset + 1, self._done.get(partition, 0))
        for partition in {event.handle[0] for event in events}:
            held = self._in_hand[partition]
            reached[partition] = min(held) if held else self._done.pop(partition)
        consumer = self._subscriber.consumer
        mine = {partition: reached[partition] for partition in reached.keys() & consumer.assignment()}
        try:
            await consumer.commit(mine)
            self._committed |= mine
        except (CommitFailedError, IllegalStateError):
            mine = {}
        if mine.keys() != reached.keys():
            self.say("stream: Kafka gave events in progress to another worker; both publish them, with the same keys")

    async def lag(self) -> float:
        """Return the number of events in the assigned partitions after the committed offsets."""
        consumer = self._subscriber.consumer
        mine = list(consumer.assignment())
        ends = await consumer.end_offsets(mine) if mine else {}
        return float(sum([ends[each] - await self._begin(each) for each in mine]))

    async def _begin(self, partition: TopicPartition) -> int:
        """Return the offset of the first event that is not committed.

        The offset is cached, because Kafka delays this request during a rebalance.
        """
        if partition not in self._committed:
            consumer = self._subscriber.consumer
            offset = await consumer.committed(partition)
            if offset is None:
                offset = (await consumer.beginning_offsets([partition]))[partition]
            self._committed[partition] = offset
        return self._committed[partition]

    async def stop(self) -> None:
        """Leave the group and close the connection."""
        await self._broker.stop()


class Partitions(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reacts to a rebalance of the consumer group.

    Args:
        kafka: the broker that owns the partitions.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish the events of the revoked partitions; a rebalance revokes all of them."""
        await self._kafka.hand_over(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Reset the state of partitions that are not assigned any more."""
        self._kafka.forget(assigned)


async def _make(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
    """Create topics with the default number of partitions and replicas of the cluster.

    Raises:
        MeritError: Kafka refuses to create a topic.
        KafkaError: a temporary error.
    """
    # -1 selects the default of the cluster. The client accepts it only with a replica assignment, which may be empty.
    asked = [NewTopic(topic, num_partitions=-1, replication_factor=-1, replica_assignments={}) for topic in topics]
    for topic, code, *told in (await admin.create_topics(asked)).topic_errors:
        error = for_code(code)
        if error in (NoError, TopicAlreadyExistsError):  # another worker was first
            continue
        if error.retriable:
            raise error(*told)
        why = next(filter(None, told), error.__name__)
        raise MeritError(f"stream: Kafka makes no topic {topic} ({why}); make it yourself, then start again")


def made(kafka: Broker) -> KafkaBroker:
    """Return the FastStream broker for all servers of the URL; publishing waits for all replicas."""
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
    """Return the credentials and TLS settings of a URL; None for neither.

    Raises:
        MeritError: the mechanism is not supported.
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
