"""Kafka: a group of consumers that commits what is answered; it does not tell what came before, so we assume it."""

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
"""How a user is told to Kafka: kafkas://user:password@host:9093?mechanism=SCRAM-SHA-512."""
JOINING = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds after which it tries again to join the group."""
HAND_OVER_SECONDS = 5.0
"""How long the group waits for what is in hand before others get the partitions; it would wait 10 s for a worker."""


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
        """The offset behind the last event that is answered, while others before it are in hand."""
        self._committed: dict[TopicPartition, int] = {}
        """What is committed of the partitions that this worker has, as far as it knows."""

    async def connect(self) -> None:
        """Reach the servers; make the topics, or see that they are there."""
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
        """Join the group, which may wait for one that died to be given up, and read batches one after the other.

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
        """Have each batch handed on."""
        how = self.how
        self._subscriber = self._broker.subscriber(
            Topic(how.events, declare=False),  # FastStream would make it with one replica
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
        """Return the event of a record; the first of each partition may be what the worker before died of."""
        partition = TopicPartition(record.topic, record.partition)
        self._seen[partition] += 1
        self._in_hand[partition].add(record.offset)
        place = f"{record.topic}:{record.partition}:{record.offset}"
        again = self._seen[partition] <= self.how.rows
        return Event(record.value or b"", place, again=again, handle=(partition, record.offset))

    async def hand_over(self, partitions: Iterable[TopicPartition]) -> None:
        """Wait a while until nothing of some partitions is in hand, so that no other worker answers it, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_SECONDS):
                while any(self._in_hand[each] for each in partitions):
                    await asyncio.sleep(0.02)

    def forget(self, all_but: set[TopicPartition]) -> None:
        """Forget how many events came of partitions that others have now: what they die of may come back."""
        self._seen = Counter({each: self._seen[each] for each in all_but})
        self._committed.clear()  # others may have committed more

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
        consumer = self._subscriber.consumer
        mine = {partition: reached[partition] for partition in reached.keys() & consumer.assignment()}
        try:
            await consumer.commit(mine)
            self._committed |= mine
        except (CommitFailedError, IllegalStateError):
            mine = {}
        if mine.keys() != reached.keys():
            self.say("stream: Kafka gave what was in hand to another worker; both answer it, by the same keys")

    async def lag(self) -> float:
        """Return what this worker's partitions hold behind what is committed."""
        consumer = self._subscriber.consumer
        mine = list(consumer.assignment())
        ends = await consumer.end_offsets(mine) if mine else {}
        return float(sum([ends[each] - await self._begin(each) for each in mine]))

    async def _begin(self, partition: TopicPartition) -> int:
        """Return the offset of the first event that is not committed.

        It is asked for once: while the group shares its partitions anew, Kafka holds back such answers.
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
    """What is done when the group shares its partitions anew.

    Args:
        kafka: whose they are.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """All of them are given back each time."""
        await self._kafka.hand_over(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Those that come may have been here before."""
        self._kafka.forget(assigned)


async def _make(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
    """Make topics with as many partitions and replicas as the cluster gives to those of which nobody says more.

    Raises:
        MeritError: one may not be made; KafkaError: not now.
    """
    # -1 has the cluster choose. The client takes it only beside an assignment of replicas, which may be empty.
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
