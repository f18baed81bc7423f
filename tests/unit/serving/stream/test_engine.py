"""Nothing is acknowledged before it is published, whatever the broker does."""

import asyncio
from collections.abc import Sequence

import pytest

from merit.config.schema.stream import Stream
from merit.serving.stream import engine as engines
from merit.serving.stream.brokers import Broker, Take
from merit.serving.stream.engine import Engine
from merit.serving.stream.events import Event, Record
from merit.serving.stream.meters import Meters


class Fake(Broker):
    """A broker that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(Stream(), "nats://127.0.0.1:4222", lambda line: None)
        self.failures = failures
        self.delivered: list[list[str]] = []

    async def connect(self) -> None: ...

    async def start(self, take: Take) -> None: ...

    async def deliver(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nats://someone:secret@host is away")
        assert [record.key for record in records] == [event.place for event in events]
        self.delivered.append([record.key for record in records])

    async def lag(self) -> float:
        return 0.0

    async def stop(self) -> None: ...


class Echo:
    """Answers each event by its place, in a batch or alone."""

    def __init__(self) -> None:
        self.alone: list[str] = []

    def batch(self, events: Sequence[Event]) -> list[Record]:
        return [Record(event.place, event.raw) for event in events]

    async def score(self, event: Event) -> Record:
        self.alone.append(event.place)
        return Record(event.place, event.raw)

    async def close(self) -> int:
        return 0


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def engine(told: list[str], echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(engines, "FIRST", 0.01)
    batch = type("Batch", (), {"score": staticmethod(echo.batch)})
    return Engine(batch, echo, Meters("m", "v", "c"), told.append)


def test_a_batch_is_delivered_whole(engine):
    broker = Fake()
    asyncio.run(engine.handle(broker, [Event(b"", "1"), Event(b"", "2")]))
    assert broker.delivered == [["1", "2"]]


def test_what_came_before_is_scored_alone(engine, echo):
    broker = Fake()
    asyncio.run(engine.handle(broker, [Event(b"", "1", again=True), Event(b"", "2"), Event(b"", "3", again=True)]))
    assert (broker.delivered, echo.alone) == ([["2"], ["1", "3"]], ["1", "3"])


def test_a_batch_that_fails_as_a_whole_is_scored_one_by_one(engine, echo, told):
    def failing(events: Sequence[Event]) -> list[Record]:
        raise MemoryError("no room")

    broker = Fake()
    engine._scorer.score = failing
    asyncio.run(engine.handle(broker, [Event(b"", "1"), Event(b"", "2")]))
    assert (broker.delivered, echo.alone) == ([["1", "2"]], ["1", "2"])
    assert told == ["stream: a batch can't be scored (no room); its events are scored alone"]


def test_what_the_broker_does_not_take_is_sent_again_and_told_once_without_secrets(engine, told):
    broker = Fake(failures=3)
    asyncio.run(engine.handle(broker, [Event(b"", "1")]))
    assert broker.delivered == [["1"]]
    assert told == [
        "stream: answers can't be published (nats://***@host is away); trying again",
        "stream: answers are published again",
    ]


def test_one_who_is_told_to_stop_gives_up_what_is_not_published(engine, told):
    broker = Fake(failures=10**9)

    async def run() -> None:
        handling = asyncio.create_task(engine.handle(broker, [Event(b"", "1")]))
        await asyncio.sleep(0.03)
        await engine.stop(1)
        await handling
        await engine.handle(broker, [Event(b"", "2")])

    asyncio.run(run())
    assert broker.delivered == []


def test_one_who_is_told_to_stop_finishes_what_is_in_hand(engine, echo, monkeypatch):
    broker = Fake()
    entered = asyncio.Event()

    async def slow(event: Event) -> Record:
        entered.set()
        await asyncio.sleep(0.05)
        return Record(event.place, b"")

    monkeypatch.setattr(echo, "score", slow)

    async def run() -> None:
        handling = asyncio.create_task(engine.handle(broker, [Event(b"", "1", again=True)]))
        await entered.wait()
        await engine.stop(5)
        assert broker.delivered == [["1"]]
        await handling

    asyncio.run(run())
