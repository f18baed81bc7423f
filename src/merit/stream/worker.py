"""Runs one stream worker, from its start to SIGTERM or SIGINT."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from merit import artifacts
from merit.config.schema.release import Signing
from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.serving.server.serve import check_signature
from merit.stream.brokers import registry
from merit.stream.brokers.interface import Broker
from merit.stream.engine import Engine
from merit.stream.events import Event
from merit.stream.isolated_scorer import IsolatedScorer
from merit.stream.metrics import StreamMetrics
from merit.stream.scorer import EventScorer

SHUTDOWN_TIMEOUT_S = 10.0
"""Seconds that shutdown may take after the events in progress are done or abandoned."""
MAX_STUCK_BATCHES = 4
"""Number of stuck batches at which the worker exits; each occupies a thread and perhaps a core."""
LAG_INTERVAL_S = 2.0
"""Seconds between two queries for the lag, and the time limit of one."""


def run_worker(
    settings: Stream, version: str | None, signing: Signing, show_line: Callable[[str], None], commit: str | None = None
) -> None:
    """Process events until SIGTERM or SIGINT; events in progress are finished first.

    Args:
        settings: the section `stream` of the lock.
        version: the package's version in the registry, if it has one.
        signing: the section `release.signing` of the lock, which says what signatures are trusted.
        show_line: shows a line to the user.
        commit: the Git commit of the package, where it is known.

    Raises:
        MeritError: the package does not match its manifest or its signature, the client library of the broker is not
            installed, the broker can't be reached, or the port for metrics is taken.
    """
    check_signature(artifacts.PACKAGE, signing)
    if commit is not None:
        os.environ[artifacts.COMMIT_VARIABLE] = commit  # the child process that scores events alone reads it too
    package = Package.load(artifacts.PACKAGE)
    broker = registry.create_broker(settings, show_line)
    version_name = version or package.digest
    metrics = StreamMetrics(package.manifest["model"], version_name, package.commit)
    engine = _create_engine(settings, package, version_name, metrics, show_line)
    metrics.serve(settings.metrics_port)
    import uvloop

    exit_timer = create_exit_timer(settings.answer_seconds + SHUTDOWN_TIMEOUT_S, show_line)
    try:
        uvloop.run(_run_until_stopped(broker, engine, metrics, exit_timer))
    finally:
        exit_timer.cancel()


def create_exit_timer(timeout_s: float, show_line: Callable[[str], None]) -> threading.Timer:
    """Return a timer that ends the process some seconds after its start, even if the event loop hangs."""

    def exit_process() -> None:
        show_line(f"stream: did not end in {timeout_s:g} seconds, so it is killed; unfinished events are redelivered")
        os._exit(MeritError.exit_code)

    timer = threading.Timer(timeout_s, exit_process)
    timer.daemon = True
    return timer


def _create_engine(
    settings: Stream, package: Package, version: str, metrics: StreamMetrics, show_line: Callable[[str], None]
) -> Engine:
    columns = [column["name"] for column in package.inputs]
    scorer = EventScorer(ServedModel(package, version, settings.rows), columns, settings.key)
    # One delivery is spent when an event gets here: it may have killed a worker. All tries must end within
    # answer_seconds, after which the broker would redeliver the event to another worker.
    max_attempts, timeout_s = settings.max_deliveries - 1, settings.answer_seconds / settings.max_deliveries
    isolated_scorer = IsolatedScorer(
        artifacts.PACKAGE, version, settings.key, max_attempts=max_attempts, timeout_s=timeout_s
    )
    return Engine(scorer, isolated_scorer, metrics, show_line, timeout_s)


async def _run_until_stopped(
    broker: Broker, engine: Engine, metrics: StreamMetrics, exit_timer: threading.Timer
) -> None:
    settings, show_line, stop_event = broker.settings, broker.show_line, asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop_event.set)
    await _run_or_stop(stop_event, _connect_with_retries(broker, settings.connect_seconds))
    if stop_event.is_set():
        exit_timer.start()
        return

    broker.log_handler.is_open = True
    try:
        await _run_or_stop(stop_event, _consume_events(broker, engine, metrics))
        show_line("stream: stopping; events in progress are finished first")
    finally:
        exit_timer.start()
        await engine.stop(settings.answer_seconds)
        broker.log_handler.is_open = False
        with contextlib.suppress(Exception):  # the broker may be gone; unacknowledged events are redelivered
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S / 2):
                await broker.stop()


async def _consume_events(broker: Broker, engine: Engine, metrics: StreamMetrics) -> None:
    """Start the consumer, and monitor it until cancelled."""

    async def handle_batch(events: Sequence[Event]) -> None:
        await engine.handle_batch(broker, events)

    await broker.start(handle_batch)
    settings = broker.settings
    broker.show_line(
        f"stream: {broker.address}: {settings.events} -> {settings.answers}, what can't be answered -> "
        f"{settings.dead_letters}"
    )
    await _monitor_broker(broker, engine, metrics)


async def _run_or_stop(stop_event: asyncio.Event, coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until it ends, fails, or `stop_event` is set, which cancels it."""
    work_task, stop_task = asyncio.create_task(coroutine), asyncio.create_task(stop_event.wait())
    await asyncio.wait({work_task, stop_task}, return_when=asyncio.FIRST_COMPLETED)
    stop_task.cancel()
    if work_task.done():
        await work_task
    work_task.cancel()


async def _connect_with_retries(broker: Broker, timeout_s: float) -> None:
    """Connect, with retries for some seconds.

    Raises:
        MeritError: the broker can't be reached in that time, or a stream or queue is missing.
    """
    last_error, wait = "no answer", 0.1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    return await broker.connect()
                except MeritError:
                    raise
                except Exception as error:  # noqa: BLE001  # each client has its own
                    last_error = broker.describe_error(error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 2.0)
    last_error = broker.last_error or last_error
    raise MeritError(
        f"stream: {broker.address} can't be reached in {timeout_s:g} seconds ({last_error}); start the broker, or say "
        "where it "
        f"is in stream.url or {registry.URL_VARIABLE}"
    )


async def _monitor_broker(broker: Broker, engine: Engine, metrics: StreamMetrics) -> None:
    """Update the lag metric regularly, and check for stuck batches.

    Raises:
        MeritError: the stream or its consumers were removed from the broker, which a restart creates again; or too many
            batches are stuck, which only a new process cures.
    """
    is_answering = True
    while True:
        if engine.stuck_batches >= MAX_STUCK_BATCHES:
            raise MeritError(f"stream: {engine.stuck_batches} batches are stuck in scoring; start again")
        try:
            async with asyncio.timeout(LAG_INTERVAL_S):
                metrics.lag.set(await broker.read_lag())
            metrics.broker_up.set(1)
            if not is_answering:
                broker.show_line(f"stream: {broker.address} answers again")
            is_answering = True
        except MeritError:
            raise
        except Exception as error:  # noqa: BLE001  # each client has its own types; the metrics show that it is down
            metrics.lag.set(float("nan"))
            metrics.broker_up.set(0)
            if is_answering:
                reason = (
                    f"waited {LAG_INTERVAL_S:g} seconds"
                    if isinstance(error, TimeoutError)
                    else broker.describe_error(error)
                )
                broker.show_line(f"stream: {broker.address} does not answer ({reason}); trying again")
            is_answering = False
        await asyncio.sleep(LAG_INTERVAL_S)
