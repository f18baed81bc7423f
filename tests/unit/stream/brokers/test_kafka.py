"""Kafka, without a broker: what is asked of the client, and a batch through FastStream's own test broker."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RequestTimedOutError
from aiokafka.protocol.admin import CreateTopicsRequest, CreateTopicsRequest_v3, CreateTopicsResponse_v3
from faststream.kafka import TestKafkaBroker
from faststream.security import SASLPlaintext, SASLScram512

from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.stream.brokers import kafka as on_kafka
from merit.stream.brokers.kafka import Kafka, RebalanceListener, create_kafka_broker, parse_security, parse_servers
from merit.stream.events import BAD_ROW, Event, Record


def test_a_url_names_several_servers():
    assert parse_servers("kafka://a:9093,b") == ["a:9093", "b:9092"]
    assert parse_servers("kafkas://me:p%40ss@a:9093,b:9094?mechanism=PLAIN") == ["a:9093", "b:9094"]


def test_who_asks_and_whether_by_tls_is_in_the_url():
    assert parse_security("kafka://a") is None
    assert parse_security("kafkas://a").use_ssl
    plain = parse_security("kafka://me:p%40ss@a")
    assert (type(plain), plain.username, plain.password, plain.use_ssl) == (SASLPlaintext, "me", "p@ss", False)
    scram = parse_security("kafkas://me:secret@a?mechanism=SCRAM-SHA-512")
    assert (type(scram), scram.use_ssl) == (SASLScram512, True)
    with pytest.raises(MeritError, match="no mechanism 'MD5'; allowed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512") as caught:
        parse_security("kafka://me:secret@a?mechanism=MD5")
    assert "secret" not in str(caught.value)


FIRST, SECOND = TopicPartition("events", 0), TopicPartition("events", 1)


class Consumer:
    """Has some partitions, each with ten events, and keeps what is committed."""

    def __init__(self, *partitions: TopicPartition) -> None:
        self.partitions = frozenset(partitions or {FIRST})
        self.commits: list[dict[TopicPartition, int]] = []
        self.asked: list[TopicPartition] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return self.partitions

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 10)

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1)

    async def committed(self, partition: TopicPartition) -> int | None:
        self.asked.append(partition)
        return None if partition == FIRST else 4

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets)


def test_answers_are_published_before_offsets_are_committed_and_the_first_events_are_suspect():
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092", rows=2), "kafka://127.0.0.1:9092", print)
    kafka._broker = create_kafka_broker(kafka)
    published: list[tuple[str, int]] = []
    """Where to, and how many commits there were."""
    taken: list[Event] = []
    consumer = Consumer()

    async def take(events: Sequence[Event]) -> None:
        taken.extend(events)
        records = [
            Record(event.position, b"{}") if event.raw != b"bad" else Record(event.position, event.raw, BAD_ROW, "why")
            for event in events
        ]
        kafka._subscriber.consumer = consumer
        pairs = list(zip(records, events, strict=True))
        assert await kafka.publish(pairs) == [None] * len(pairs)
        await kafka.acknowledge(events)

    kafka.subscribe(take)

    async def answer(body: Any) -> None:
        published.append(("predictions", len(consumer.commits)))

    async def letter(body: Any) -> None:
        published.append(("dead", len(consumer.commits)))

    kafka._broker.subscriber("predictions")(answer)
    kafka._broker.subscriber("dead")(letter)

    async def run() -> None:
        async with TestKafkaBroker(kafka._broker) as broker:
            for body in (b"one", b"bad", b"three"):
                await broker.publish(body, "events")

    asyncio.run(run())
    assert [event.raw for event in taken] == [b"one", b"bad", b"three"]
    assert [event.is_redelivered for event in taken] == [True, True, False]
    assert published == [("predictions", 0), ("dead", 1), ("predictions", 2)]
    assert len(consumer.commits) == 3


def test_no_offset_is_committed_before_those_in_front_of_it_are_done():
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092", rows=2), "kafka://127.0.0.1:9092", print)
    consumer = Consumer()
    kafka._subscriber = SimpleNamespace(consumer=consumer)
    events = [
        kafka._create_event(SimpleNamespace(topic="events", partition=0, offset=each, value=b"")) for each in range(5)
    ]
    assert [event.is_redelivered for event in events] == [True, True, False, False, False]
    for done in (events[2:], events[:1], events[1:2]):
        asyncio.run(kafka.acknowledge(done))
    assert [list(each.values()) for each in consumer.commits] == [[0], [1], [5]]


def _of(consumer: Consumer) -> Kafka:
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092", rows=2), "kafka://127.0.0.1:9092", print)
    kafka._subscriber = SimpleNamespace(consumer=consumer)
    return kafka


def _event(kafka: Kafka, partition: TopicPartition, offset: int) -> Event:
    return kafka._create_event(
        SimpleNamespace(topic=partition.topic, partition=partition.partition, offset=offset, value=b"")
    )


def test_what_is_answered_of_a_partition_that_another_worker_has_now_keeps_nothing_else_from_being_committed(capsys):
    consumer = Consumer(SECOND)
    kafka = _of(consumer)
    asyncio.run(kafka.acknowledge([_event(kafka, FIRST, 5), _event(kafka, SECOND, 7)]))
    assert consumer.commits == [{SECOND: 8}]
    assert capsys.readouterr().out.startswith("stream: Kafka gave events in progress to another worker")


def test_the_lag_is_told_while_kafka_does_not_say_what_is_committed():
    consumer = Consumer(FIRST, SECOND)
    kafka = _of(consumer)
    assert asyncio.run(kafka.read_lag()) == 9 + 6
    asyncio.run(kafka.acknowledge([_event(kafka, FIRST, 5)]))
    assert asyncio.run(kafka.read_lag()) == 4 + 6
    assert sorted(consumer.asked) == [FIRST, SECOND]  # each once
    asyncio.run(
        RebalanceListener(kafka).on_partitions_assigned({FIRST, SECOND})
    )  # others may have committed in the meantime
    assert asyncio.run(kafka.read_lag()) == 9 + 6


def test_partitions_are_given_to_others_once_what_is_in_hand_of_them_is_answered(monkeypatch):
    kafka = _of(Consumer())
    event = _event(kafka, FIRST, 5)

    async def run() -> None:
        giving = asyncio.create_task(RebalanceListener(kafka).on_partitions_revoked({FIRST}))
        await asyncio.sleep(0.05)
        assert not giving.done()
        await kafka.acknowledge([event])
        await asyncio.wait_for(giving, 5)
        _event(kafka, FIRST, 6)
        monkeypatch.setattr(on_kafka, "HAND_OVER_TIMEOUT_S", 0.05)
        await asyncio.wait_for(RebalanceListener(kafka).on_partitions_revoked({FIRST}), 5)  # it waits no longer

    asyncio.run(run())


def test_the_first_events_of_a_partition_that_comes_back_from_another_worker_are_suspect():
    kafka = _of(Consumer(FIRST, SECOND))
    partitions = RebalanceListener(kafka)
    for each in (FIRST, SECOND):
        assert [_event(kafka, each, offset).is_redelivered for offset in range(3)] == [True, True, False]
    asyncio.run(partitions.on_partitions_assigned({SECOND}))
    asyncio.run(partitions.on_partitions_assigned({FIRST, SECOND}))
    assert _event(kafka, FIRST, 8).is_redelivered
    assert not _event(kafka, SECOND, 8).is_redelivered


def test_the_group_is_joined_though_kafka_refuses_it_at_first_and_else_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(on_kafka, "JOIN_RETRY_WAITS_S", (0.0, 0.0))
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092"), "kafka://127.0.0.1:9092", print)
    kafka._broker = create_kafka_broker(kafka)
    errors = [KafkaError("the group moves")]

    async def start() -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(kafka._broker, "start", start)
    asyncio.run(kafka.start(lambda events: None))
    errors += [KafkaError("no"), KafkaError("no")]
    with pytest.raises(MeritError, match=r"the group merit of events can't be joined \(.*no\); see whether the user"):
        asyncio.run(kafka.start(lambda events: None))


class Admin(AIOKafkaAdminClient):
    """Keeps what would be sent, and answers."""

    def __init__(self, *answers: tuple[str, int, str | None]) -> None:
        self._answers = answers
        self._request_timeout_ms = 1000
        self.sent: list[bytes] = []

    async def list_topics(self) -> list[str]:
        return ["events"]

    async def _send_to_controller(self, request: CreateTopicsRequest) -> CreateTopicsResponse_v3:
        self.sent.append(request.build(CreateTopicsRequest_v3).encode())
        return CreateTopicsResponse_v3(0, self._answers)


def test_topics_that_lack_are_made_with_as_many_partitions_and_replicas_as_the_cluster_gives():
    admin = Admin(("predictions", 0, None), ("dead", 36, "there is one"))  # another worker made it
    asyncio.run(_of(Consumer())._ensure_topics(admin))
    chosen = b"\xff\xff\xff\xff\xff\xff" + bytes(8)  # partitions and replicas; no assignments, no settings
    topics = b"\0\x0bpredictions" + chosen + b"\0\4dead" + chosen
    assert admin.sent == [b"\0\0\0\2" + topics + (1000).to_bytes(4, "big") + b"\0"]


def test_a_topic_that_can_not_be_made_is_told_with_kafkas_reason():
    kafka = _of(Consumer())
    with pytest.raises(MeritError, match=r"makes no topic dead \(not you\); make it yourself"):
        asyncio.run(kafka._ensure_topics(Admin(("predictions", 0, None), ("dead", 29, "not you"))))
    with pytest.raises(MeritError, match=r"makes no topic dead \(TopicAuthorizationFailedError\)"):
        asyncio.run(kafka._ensure_topics(Admin(("dead", 29, None))))
    with pytest.raises(RequestTimedOutError):  # is tried again
        asyncio.run(kafka._ensure_topics(Admin(("dead", 7, None))))


def test_a_dead_letter_that_is_too_large_is_cut(monkeypatch):
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092"), "kafka://127.0.0.1:9092", print)
    kafka._broker = create_kafka_broker(kafka)
    published: list[tuple[bytes, dict[str, str]]] = []

    async def publish(body: bytes, topic: str, *, key: bytes, headers: dict[str, str]) -> None:
        if len(body) > 5000:
            raise MessageSizeTooLargeError
        published.append((body, headers))

    monkeypatch.setattr(kafka._broker, "publish", publish)
    assert asyncio.run(kafka.publish([(Record("1", b"x" * 9000, BAD_ROW, "why"), Event(b"", "1"))])) == [None]
    ((body, told),) = published
    assert (body, told["merit-size"]) == (b"x" * 1024, "9000")
    assert told["merit-digest"].startswith("sha256:")
