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
from merit.stream import faststream_adapter
from merit.stream.brokers.interface import RAW_MESSAGE_OPTIONS, Broker, HandleBatch, RecordPair
from merit.stream.events import MAX_TRUNCATED_BYTES, Event, Record, create_headers, truncate_record

NAME = "kafka"
URL_SCHEMES = ("kafka", "kafkas")
SASL_MECHANISMS = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
"""SASL mechanisms of a URL such as kafkas://user:password@host:9093?mechanism=SCRAM-SHA-512."""
JOIN_RETRY_WAITS_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds to wait after each failed attempt to join the group."""
HAND_OVER_TIMEOUT_S = 5.0
"""How long a rebalance waits for events in progress; Kafka itself would wait 10 s for a worker."""


class Kafka(Broker):
    """Kafka by FastStream."""

    ignored_log_texts = (
        "Error sending",
        "Failed fetch",
        "Group Coordinator Request failed",
        "Heartbeat",
        "Marking the coordinator dead",
        "OffsetCommit failed",
        "Unable to",
        "Unclosed AIOKafka",
    )

    def __init__(self, settings: Stream, url: str, show_line: Callable[[str], None]) -> None:
        super().__init__(settings, url, show_line)
        self._received_counts: Counter[TopicPartition] = Counter()
        self._in_flight: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        self._done_offsets: dict[TopicPartition, int] = {}
        """The offset after the highest processed event; earlier events may still be in progress."""
        self._committed_offsets: dict[TopicPartition, int] = {}
        """The committed offsets of the assigned partitions, as far as this worker knows."""

    async def connect(self) -> None:
        """Connect; create the topics or check that they exist."""
        self._broker = create_kafka_broker(self)
        try:
            await self._connect_and_check()
        except BaseException:
            await self._broker.stop()
            raise

    async def _connect_and_check(self) -> None:
        await self._broker.connect()
        if not await self._broker.ping(timeout=self.settings.connect_seconds):
            raise ConnectionError("no server answers")
        await self._ensure_topics(faststream_adapter.get_kafka_admin(self._broker))

    async def _ensure_topics(self, admin: AIOKafkaAdminClient) -> None:
        existing = set(await admin.list_topics())
        missing = [
            each
            for each in (self.settings.events, self.settings.answers, self.settings.dead_letters)
            if each not in existing
        ]
        if missing and not self.settings.declare:
            raise MeritError(f"stream: Kafka has no topic {missing[0]}; make it, or set stream.declare")
        if missing:
            await _create_topics(admin, missing)

    async def start(self, handle_batch: HandleBatch) -> None:
        """Join the group and read batches one after another.

        Joining is retried, because the group may still wait for a worker that died.

        Raises:
            MeritError: the group can't be joined.
        """
        reason = ""
        self.subscribe(handle_batch)
        for wait in JOIN_RETRY_WAITS_S:
            try:
                return await self._broker.start()
            except KafkaError as error:
                reason = self.describe_error(error)
                await self._subscriber.stop()
            await asyncio.sleep(wait)
        raise MeritError(
            f"stream: {self.address}: the group {self.settings.group} of {self.settings.events} can't be joined "
            f"({reason}); see "
            "whether the user may read the topic in that group"
        )

    def subscribe(self, handle_batch: HandleBatch) -> None:
        """Subscribe to the events topic; each batch goes to `handle_batch`."""
        settings = self.settings
        self._subscriber = self._broker.subscriber(
            Topic(settings.events, declare=False),  # FastStream would create it with one replica
            group_id=settings.group,
            batch=True,
            batch_timeout_ms=settings.wait_ms,
            max_records=settings.rows,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            listener=RebalanceListener(self),
            **RAW_MESSAGE_OPTIONS,
        )

        async def handle(batch: Sequence[Any]) -> None:
            await handle_batch([self._create_event(record) for record in batch])

        self._subscriber(handle)

    def _create_event(self, record: Any) -> Event:
        """Return the event of a Kafka record; the first of each partition may have killed the previous worker."""
        partition = TopicPartition(record.topic, record.partition)
        self._received_counts[partition] += 1
        self._in_flight[partition].add(record.offset)
        position = f"{record.topic}:{record.partition}:{record.offset}"
        is_redelivered = self._received_counts[partition] <= self.settings.rows
        return Event(record.value or b"", position, is_redelivered=is_redelivered, handle=(partition, record.offset))

    async def wait_for_in_flight(self, partitions: Iterable[TopicPartition]) -> None:
        """Wait until the events of some partitions are done, so that no other worker repeats them; at most 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                while any(self._in_flight[each] for each in partitions):
                    await asyncio.sleep(0.02)

    def forget_partitions(self, assigned: set[TopicPartition]) -> None:
        """Drop the state of partitions that moved to other workers.

        When such a partition returns, its first events count as redelivered: they may have killed the other worker.

        Args:
            assigned: the partitions to keep.
        """
        self._received_counts = Counter({each: self._received_counts[each] for each in assigned})
        self._committed_offsets.clear()  # others may have committed more

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        """Publish all records concurrently and await the confirmations."""
        return await asyncio.gather(*(self._publish_record(record) for record, _ in pairs), return_exceptions=True)

    async def _publish_record(self, record: Record) -> None:
        key = record.key.encode()
        if not record.cause:
            await self._broker.publish(record.body, self.settings.answers, key=key)
            return
        try:
            record_headers = create_headers(record, "merit-")
            await self._broker.publish(record.body, self.settings.dead_letters, key=key, headers=record_headers)
        except MessageSizeTooLargeError:  # the event fits the limit, but not together with its headers
            truncated = truncate_record(record, MAX_TRUNCATED_BYTES)
            record_headers = create_headers(truncated, "merit-")
            await self._broker.publish(truncated.body, self.settings.dead_letters, key=key, headers=record_headers)

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Commit each partition up to its first event that is still in progress."""
        offsets: dict[TopicPartition, int] = {}
        for event in events:
            partition, offset = event.handle
            self._in_flight[partition].discard(offset)
            self._done_offsets[partition] = max(offset + 1, self._done_offsets.get(partition, 0))
        for partition in {event.handle[0] for event in events}:
            pending = self._in_flight[partition]
            offsets[partition] = min(pending) if pending else self._done_offsets.pop(partition)
        consumer = self._subscriber.consumer
        assigned_offsets = {partition: offsets[partition] for partition in offsets.keys() & consumer.assignment()}
        try:
            await consumer.commit(assigned_offsets)
            self._committed_offsets |= assigned_offsets
        except (CommitFailedError, IllegalStateError):
            assigned_offsets = {}
        if assigned_offsets.keys() != offsets.keys():
            self.show_line(
                "stream: Kafka gave events in progress to another worker; both publish them, with the same keys"
            )

    async def read_lag(self) -> float:
        """Return the number of events in the assigned partitions after the committed offsets."""
        consumer = self._subscriber.consumer
        assigned = list(consumer.assignment())
        end_offsets = await consumer.end_offsets(assigned) if assigned else {}
        return float(sum([end_offsets[each] - await self._get_committed_offset(each) for each in assigned]))

    async def _get_committed_offset(self, partition: TopicPartition) -> int:
        """Return the offset of the first event that is not committed.

        The offset is cached, because Kafka delays this request during a rebalance.
        """
        if partition not in self._committed_offsets:
            consumer = self._subscriber.consumer
            offset = await consumer.committed(partition)
            if offset is None:
                offset = (await consumer.beginning_offsets([partition]))[partition]
            self._committed_offsets[partition] = offset
        return self._committed_offsets[partition]

    async def stop(self) -> None:
        """Leave the group and close the connection."""
        await self._broker.stop()


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reacts to a rebalance of the consumer group.

    Args:
        kafka: the broker that owns the partitions.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish the events of the revoked partitions; a rebalance revokes all of them."""
        await self._kafka.wait_for_in_flight(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Reset the state of partitions that are not assigned any more."""
        self._kafka.forget_partitions(assigned)


async def _create_topics(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
    """Create topics with the default number of partitions and replicas of the cluster.

    Raises:
        MeritError: Kafka refuses to create a topic.
        KafkaError: a temporary error.
    """
    # -1 selects the default of the cluster. The client accepts it only with a replica assignment, which may be empty.
    new_topics = [NewTopic(topic, num_partitions=-1, replication_factor=-1, replica_assignments={}) for topic in topics]
    for topic, code, *details in (await admin.create_topics(new_topics)).topic_errors:
        error = for_code(code)
        if error in (NoError, TopicAlreadyExistsError):  # another worker was first
            continue
        if error.retriable:
            raise error(*details)
        reason = next(filter(None, details), error.__name__)
        raise MeritError(f"stream: Kafka makes no topic {topic} ({reason}); make it yourself, then start again")


def create_kafka_broker(kafka: Broker) -> KafkaBroker:
    """Return the FastStream broker for all servers of the URL; publishing waits for all replicas."""
    return KafkaBroker(
        parse_servers(kafka.url),
        security=parse_security(kafka.url),
        acks="all",
        enable_idempotence=True,
        logger=kafka.logger,
        apply_types=False,
        graceful_timeout=kafka.settings.answer_seconds,
    )


def parse_servers(url: str) -> list[str]:
    """Return the servers of kafka://user:password@host:9092,host:9092."""
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [host if ":" in host else f"{host}:9092" for host in hosts]


def parse_security(url: str) -> BaseSecurity | None:
    """Return the credentials and TLS settings of a URL; None for neither.

    Raises:
        MeritError: the mechanism is not supported.
    """
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "kafkas" else None
    credentials, _, _ = parts.netloc.rpartition("@")
    if not credentials:
        return BaseSecurity(ssl_context=tls, use_ssl=True) if tls else None
    user, _, password = credentials.partition(":")
    mechanism = parse_qs(parts.query).get("mechanism", ["PLAIN"])[0]
    if mechanism not in SASL_MECHANISMS:
        raise MeritError(f"MERIT_STREAM_URL: no mechanism {mechanism!r}; allowed: {', '.join(SASL_MECHANISMS)}")
    security_type = SASL_MECHANISMS[mechanism]
    return security_type(username=unquote(user), password=unquote(password), ssl_context=tls, use_ssl=tls is not None)


BROKER = Kafka
