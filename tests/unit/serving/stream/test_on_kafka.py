"""Kafka, without a broker: what is asked of the client, and a batch through FastStream's own test broker."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from faststream.kafka import TestKafkaBroker
from faststream.security import SASLPlaintext, SASLScram512

from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.serving.stream.events import BAD_ROW, Event, Record
from merit.serving.stream.on_kafka import Kafka, made, security, servers


def test_a_url_names_several_servers():
    assert servers("kafka://a:9093,b") == ["a:9093", "b:9092"]
    assert servers("kafkas://me:p%40ss@a:9093,b:9094?mechanism=PLAIN") == ["a:9093", "b:9094"]


def test_who_asks_and_whether_by_tls_is_in_the_url():
    assert security("kafka://a") is None
    assert security("kafkas://a").use_ssl
    plain = security("kafka://me:p%40ss@a")
    assert (type(plain), plain.username, plain.password, plain.use_ssl) == (SASLPlaintext, "me", "p@ss", False)
    scram = security("kafkas://me:secret@a?mechanism=SCRAM-SHA-512")
    assert (type(scram), scram.use_ssl) == (SASLScram512, True)
    with pytest.raises(MeritError, match="no mechanism 'MD5'; allowed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512") as caught:
        security("kafka://me:secret@a?mechanism=MD5")
    assert "secret" not in str(caught.value)


class Consumer:
    """Keeps what is committed."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets)


def test_answers_are_published_before_offsets_are_committed_and_the_first_events_are_suspect():
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092", rows=2), "kafka://127.0.0.1:9092", print)
    kafka._broker = made(kafka)
    published: list[tuple[str, int]] = []
    """Where to, and how many commits there were."""
    taken: list[Event] = []
    consumer = Consumer()

    async def take(events: Sequence[Event]) -> None:
        taken.extend(events)
        records = [
            Record(event.place, b"{}") if event.raw != b"bad" else Record(event.place, event.raw, BAD_ROW, "why")
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
    assert [event.again for event in taken] == [True, True, False]
    assert published == [("predictions", 0), ("dead", 1), ("predictions", 2)]
    assert len(consumer.commits) == 3


def test_no_offset_is_committed_before_those_in_front_of_it_are_done():
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092", rows=2), "kafka://127.0.0.1:9092", print)
    consumer = Consumer()
    kafka._subscriber = SimpleNamespace(consumer=consumer)
    events = [kafka._event(SimpleNamespace(topic="events", partition=0, offset=each, value=b"")) for each in range(5)]
    assert [event.again for event in events] == [True, True, False, False, False]
    for done in (events[2:], events[:1], events[1:2]):
        asyncio.run(kafka.acknowledge(done))
    assert [list(each.values()) for each in consumer.commits] == [[0], [1], [5]]


def test_a_dead_letter_that_is_too_large_is_cut(monkeypatch):
    kafka = Kafka(Stream(broker="kafka", url="kafka://127.0.0.1:9092"), "kafka://127.0.0.1:9092", print)
    kafka._broker = made(kafka)
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
