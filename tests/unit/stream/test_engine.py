"""Nothing is acknowledged before it is published, whatever the broker does."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from merit.config.schema.stream import Stream
from merit.stream import engine as engines
from merit.stream.brokers.interface import Broker, HandleBatch, RecordPair
from merit.stream.engine import Engine
from merit.stream.events import Event, Record
from merit.stream.metrics import StreamMetrics


class Fake(Broker):
    """A broker that fails as often as it is told to."""

    def __init__(self, failures: int = 0, refused: str = "") -> None:
        super().__init__(Stream(), "nats://127.0.0.1:4222", lambda line: None)
        self.failures, self.refused = failures, refused
        self.published: list[str] = []
        self.delivered: list[list[str]] = []

    async def connect(self) -> None: ...

    async def start(self, take: HandleBatch) -> None: ...

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        if self.failures:
            self.failures -= 1
            if not self.refused:
                raise ConnectionError("nats://someone:secret@host is away")
        is_refused = [bool(self.failures) and record.key == self.refused for record, _ in pairs]
        self.published += [record.key for (record, _), refused in zip(pairs, is_refused, strict=True) if not refused]
        return [TypeError("no stream") if refused else None for refused in is_refused]

    async def acknowledge(self, events: Sequence[Event]) -> None:
        assert {event.position for event in events} <= set(self.published)
        self.delivered.append([event.position for event in events])

    async def read_lag(self) -> float:
        return 0.0

    async def stop(self) -> None: ...


class Echo:
    """Answers each event by its place, in a batch or alone."""

    def __init__(self) -> None:
        self.alone: list[str] = []

    def batch(self, events: Sequence[Event]) -> list[Record]:
        return [Record(event.position, event.raw) for event in events]

    async def score(self, event: Event) -> Record:
        self.alone.append(event.position)
        return Record(event.position, event.raw)

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
    monkeypatch.setattr(engines, "FIRST_RETRY_WAIT_S", 0.01)
    batch = type("Batch", (), {"score": staticmethod(echo.batch)})
    return Engine(batch, echo, StreamMetrics("m", "v", "c"), told.append, timeout_s=0.2)


def test_a_batch_is_delivered_whole(engine):
    broker = Fake()
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1"), Event(b"", "2")]))
    assert broker.delivered == [["1", "2"]]


def test_what_came_before_is_scored_alone(engine, echo):
    broker = Fake()
    asyncio.run(
        engine.handle_batch(
            broker, [Event(b"", "1", is_redelivered=True), Event(b"", "2"), Event(b"", "3", is_redelivered=True)]
        )
    )
    assert (broker.delivered, echo.alone) == ([["2"], ["1", "3"]], ["1", "3"])


def test_a_batch_that_fails_as_a_whole_is_scored_one_by_one(engine, echo, told):
    def failing(events: Sequence[Event]) -> list[Record]:
        raise MemoryError("no room")

    broker = Fake()
    engine._scorer.score = failing
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1"), Event(b"", "2")]))
    assert (broker.delivered, echo.alone) == ([["1", "2"]], ["1", "2"])
    assert told == ["stream: a batch can't be scored (no room); its events are scored alone"]


def test_what_the_broker_does_not_take_is_sent_again_and_told_once_without_secrets(engine, told):
    broker = Fake(failures=3)
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1")]))
    assert broker.delivered == [["1"]]
    assert told == [
        "stream: answers can't be published (nats://***@host is away); trying again",
        "stream: all pending records are published",
    ]


def test_what_the_broker_took_is_acknowledged_and_only_the_rest_is_published_again(engine, told):
    broker = Fake(failures=4, refused="2")
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1"), Event(b"", "2"), Event(b"", "3")]))
    assert broker.published == ["1", "3", "2"]
    assert broker.delivered == [["1", "3"], ["2"]]
    assert told[0] == "stream: answers can't be published (no stream); trying again"


def test_what_is_published_but_can_not_be_acknowledged_is_not_published_again(engine, monkeypatch):
    broker, tries = Fake(), [ConnectionError("away"), None]
    acknowledge = broker.acknowledge

    async def failing(events: Sequence[Event]) -> None:
        if error := tries.pop(0):
            raise error
        await acknowledge(events)

    monkeypatch.setattr(broker, "acknowledge", failing)
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1")]))
    assert (broker.published, broker.delivered) == (["1"], [["1"]])


def test_a_batch_that_hangs_is_left_behind_and_its_events_are_scored_alone(engine, echo, told):
    broker, free = Fake(), threading.Event()

    def hanging(events: Sequence[Event]) -> list[Record]:
        free.wait(10)
        return echo.batch(events)

    engine._scorer.score = hanging
    asyncio.run(engine.handle_batch(broker, [Event(b"", "1"), Event(b"", "2")]))
    assert (broker.delivered, echo.alone) == ([["1", "2"]], ["1", "2"])
    assert told == ["stream: a batch can't be scored (took longer than 0.2 seconds); its events are scored alone"]
    assert engine.stuck_batches == 1
    (thread,) = engine._threads._abandoned
    free.set()
    thread.join(10)
    assert engine.stuck_batches == 0


def test_one_who_is_told_to_stop_gives_up_what_is_not_published(engine, told):
    broker = Fake(failures=10**9)

    async def run() -> None:
        handling = asyncio.create_task(engine.handle_batch(broker, [Event(b"", "1")]))
        await asyncio.sleep(0.03)
        await engine.stop(1)
        await handling
        await engine.handle_batch(broker, [Event(b"", "2")])

    asyncio.run(run())
    assert broker.delivered == []


def test_one_who_is_told_to_stop_finishes_what_is_in_hand(engine, echo, monkeypatch):
    broker = Fake()
    entered = asyncio.Event()

    async def slow(event: Event) -> Record:
        entered.set()
        await asyncio.sleep(0.05)
        return Record(event.position, b"")

    monkeypatch.setattr(echo, "score", slow)

    async def run() -> None:
        handling = asyncio.create_task(engine.handle_batch(broker, [Event(b"", "1", is_redelivered=True)]))
        await entered.wait()
        await engine.stop(5)
        assert broker.delivered == [["1"]]
        await handling

    asyncio.run(run())
