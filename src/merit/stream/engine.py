"""Processes events: score, publish until the broker confirms, and only then acknowledge."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence

from merit.stream.bounded_threads import BoundedThreads
from merit.stream.brokers.interface import Broker
from merit.stream.delivery import Delivery
from merit.stream.events import Event, Record
from merit.stream.isolated_scorer import IsolatedScorer
from merit.stream.metrics import StreamMetrics
from merit.stream.scorer import EventScorer

DELIVERY_INTERVAL_S = 0.5
"""Seconds after which events scored in isolation are published, before the rest of the batch is done."""
FIRST_RETRY_WAIT_S, MAX_RETRY_WAIT_S = 0.25, 10.0
"""Seconds before a retry: the first wait, doubled each time up to the longest."""


class WorkerStopping(Exception):
    """The worker is stopping; the broker will redeliver unacknowledged events."""


class Engine:
    """Scores batches of events and publishes their records.

    Args:
        scorer: scores new events, a batch at a time.
        isolated_scorer: scores redelivered events in a child process.
        metrics: the metrics.
        show_line: shows a line to the user.
        timeout_s: time limit to score a batch; when it is exceeded, each event is scored alone.
    """

    def __init__(
        self,
        scorer: EventScorer,
        isolated_scorer: IsolatedScorer,
        metrics: StreamMetrics,
        show_line: Callable[[str], None],
        timeout_s: float,
    ) -> None:
        self._scorer, self._isolated_scorer, self._metrics, self._show_line = (
            scorer,
            isolated_scorer,
            metrics,
            show_line,
        )
        self._timeout_s, self._threads = timeout_s, BoundedThreads(timeout_s)
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self._in_flight = 0
        self._isolation_lock = asyncio.Lock()

    @property
    def stuck_batches(self) -> int:
        """Number of batches whose scoring exceeded the time limit and still runs."""
        return self._threads.stuck_count

    async def handle_batch(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score, publish and acknowledge events; when the worker stops meanwhile, the rest is redelivered."""
        if self._stopping.is_set():
            return
        started_at = time.perf_counter()
        self._mark_started(len(events))
        try:
            if new_events := [event for event in events if not event.is_redelivered]:
                await self._process_new(broker, new_events)
            await self._process_redelivered(broker, [event for event in events if event.is_redelivered])
        except WorkerStopping:
            return
        finally:
            self._mark_finished(len(events), time.perf_counter() - started_at)

    async def stop(self, timeout_s: float) -> None:
        """Stop accepting events; wait up to `timeout_s` for those in progress."""
        self._stopping.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._show_line(
                f"stream: {self._in_flight} events were not done in {timeout_s:g} seconds; they are redelivered"
            )
        await self._isolated_scorer.close()

    async def _process_new(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score a batch of new events at once; if that fails or exceeds the time limit, score each event alone."""
        self._metrics.batch_sizes.observe(len(events))
        try:
            records = await self._threads.run(functools.partial(self._scorer.score, events))
        except Exception as error:  # noqa: BLE001  # a defect of ours must not lose an event
            timeout_text = f"took longer than {self._timeout_s:g} seconds"
            message = timeout_text if isinstance(error, TimeoutError) else broker.describe_error(error)
            self._show_line(f"stream: a batch can't be scored ({message}); its events are scored alone")
            await self._process_redelivered(broker, events)
            return
        await self._deliver_records(broker, records, events)

    async def _process_redelivered(self, broker: Broker, events: Sequence[Event]) -> None:
        """Score events one by one; publish finished ones regularly, because the next may take long."""
        self._metrics.redelivered.inc(len(events))
        records: list[Record] = []
        last_delivery, delivered_count = time.monotonic(), 0
        for event in events:
            async with self._isolation_lock:  # there is one child
                records.append(await self._score_isolated(event))
            if len(records) == len(events) or time.monotonic() - last_delivery > DELIVERY_INTERVAL_S:
                await self._deliver_records(broker, records[delivered_count:], events[delivered_count : len(records)])
                last_delivery, delivered_count = time.monotonic(), len(records)

    async def _score_isolated(self, event: Event) -> Record:
        wait = FIRST_RETRY_WAIT_S
        while not self._stopping.is_set():
            try:
                return await self._isolated_scorer.score(event)
            except (OSError, EOFError, TimeoutError) as error:
                message = str(error) or type(error).__name__
                self._show_line(f"stream: no process can be started to score an event alone ({message}); trying again")
            await self._wait_unless_stopping(wait)
            wait = min(2 * wait, MAX_RETRY_WAIT_S)
        raise WorkerStopping

    async def _deliver_records(self, broker: Broker, records: Sequence[Record], events: Sequence[Event]) -> None:
        delivery, wait = Delivery(broker, records, events), FIRST_RETRY_WAIT_S
        while error := await delivery.deliver_once():
            self._metrics.publish_failures.inc()
            if wait == FIRST_RETRY_WAIT_S:
                self._show_line(
                    f"stream: {delivery.unpublished_kind} can't be published ({broker.describe_error(error)}); trying "
                    "again"
                )
            await self._wait_unless_stopping(wait)
            wait = min(2 * wait, MAX_RETRY_WAIT_S)
        if wait > FIRST_RETRY_WAIT_S:
            self._show_line("stream: all pending records are published")
        self._count_records(records)

    async def _wait_unless_stopping(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise WorkerStopping

    def _count_records(self, records: Sequence[Record]) -> None:
        dead_letters = [record for record in records if record.cause]
        self._metrics.predictions.inc(len(records) - len(dead_letters))
        for record in dead_letters:
            self._metrics.dead_letters[record.cause].inc()

    def _mark_started(self, count: int) -> None:
        self._idle.clear()
        self._in_flight += count
        self._metrics.events.inc(count)
        self._metrics.in_flight.set(self._in_flight)

    def _mark_finished(self, count: int, duration_s: float) -> None:
        self._in_flight -= count
        self._metrics.batch_seconds.observe(duration_s)
        self._metrics.in_flight.set(self._in_flight)
        if not self._in_flight:
            self._idle.set()
