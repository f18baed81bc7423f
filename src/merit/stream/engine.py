"""Processes events: score, publish until the broker confirms, and only then acknowledge."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence

from merit.stream.bounded import Threads
from merit.stream.brokers.broker import Broker
from merit.stream.delivery import Delivery
from merit.stream.events import Event, Record
from merit.stream.isolated_scorer import Alone
from merit.stream.metrics import Meters
from merit.stream.scorer import Scorer

AT_LEAST_EVERY = 0.5
"""Seconds after which events scored in isolation are published, before the rest of the batch is done."""
FIRST, LONGEST = 0.25, 10.0
"""Seconds before a retry: the first wait, doubled each time up to the longest."""


class Stopped(Exception):
    """The worker is stopping; the broker will redeliver unacknowledged events."""


class Engine:
    """Scores batches of events and publishes their records.

    Args:
        scorer: scores new events, a batch at a time.
        alone: scores redelivered events in a child process.
        meters: the metrics.
        say: shows a line to the user.
        seconds: time limit to score a batch; when it is exceeded, each event is scored alone.
    """

    def __init__(
        self, scorer: Scorer, alone: Alone, meters: Meters, say: Callable[[str], None], seconds: float
    ) -> None:
        self._scorer, self._alone, self._meters, self._say = scorer, alone, meters, say
        self._seconds, self._threads = seconds, Threads(seconds)
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self._busy = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def stuck(self) -> int:
        """Number of batches whose scoring exceeded the time limit and still runs."""
        return self._threads.stuck

    async def handle(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score, publish and acknowledge events; when the worker stops meanwhile, the rest is redelivered."""
        if self._stopping.is_set():
            return
        began = time.perf_counter()
        self._began(len(events))
        try:
            if new := [event for event in events if not event.again]:
                await self._first(broker, new)
            await self._again(broker, [event for event in events if event.again])
        except Stopped:
            return
        finally:
            self._ended(len(events), time.perf_counter() - began)

    async def stop(self, seconds: float) -> None:
        """Stop accepting events; wait up to `seconds` for those in progress."""
        self._stopping.set()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            self._say(f"stream: {self._busy} events were not done in {seconds:g} seconds; they are redelivered")
        await self._alone.close()

    async def _first(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score a batch of new events at once; if that fails or exceeds the time limit, score each event alone."""
        self._meters.sizes.observe(len(events))
        try:
            records = await self._threads.run(functools.partial(self._scorer.score, events))
        except Exception as error:  # noqa: BLE001  # a defect of ours must not lose an event
            late = f"took longer than {self._seconds:g} seconds"
            told = late if isinstance(error, TimeoutError) else broker.told(error)
            self._say(f"stream: a batch can't be scored ({told}); its events are scored alone")
            await self._again(broker, events)
            return
        await self._deliver(broker, records, events)

    async def _again(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score events one by one; publish finished ones regularly, because the next may take long."""
        self._meters.again.inc(len(events))
        done: list[Record] = []
        last, sent = time.monotonic(), 0
        for event in events:
            async with self._one_at_a_time:  # there is one child
                done.append(await self._scored_alone(event))
            if len(done) == len(events) or time.monotonic() - last > AT_LEAST_EVERY:
                await self._deliver(broker, done[sent:], events[sent : len(done)])
                last, sent = time.monotonic(), len(done)

    async def _scored_alone(self, event: Event) -> Record:
        wait = FIRST
        while not self._stopping.is_set():
            try:
                return await self._alone.score(event)
            except (OSError, EOFError, TimeoutError) as error:
                told = str(error) or type(error).__name__
                self._say(f"stream: no process can be started to score an event alone ({told}); trying again")
            await self._pause(wait)
            wait = min(2 * wait, LONGEST)
        raise Stopped

    async def _deliver(self, broker: Broker, records: Sequence[Record], events: Sequence[Event]) -> None:
        delivery, wait = Delivery(broker, records, events), FIRST
        while error := await delivery.step():
            self._meters.failures.inc()
            if wait == FIRST:
                self._say(f"stream: {delivery.what} can't be published ({broker.told(error)}); trying again")
            await self._pause(wait)
            wait = min(2 * wait, LONGEST)
        if wait > FIRST:
            self._say("stream: all pending records are published")
        self._count(records)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise Stopped

    def _count(self, records: Sequence[Record]) -> None:
        letters = [record for record in records if record.cause]
        self._meters.answers.inc(len(records) - len(letters))
        for record in letters:
            self._meters.dead[record.cause].inc()

    def _began(self, count: int) -> None:
        self._idle.clear()
        self._busy += count
        self._meters.events.inc(count)
        self._meters.in_flight.set(self._busy)

    def _ended(self, count: int, seconds: float) -> None:
        self._busy -= count
        self._meters.seconds.observe(seconds)
        self._meters.in_flight.set(self._busy)
        if not self._busy:
            self._idle.set()
