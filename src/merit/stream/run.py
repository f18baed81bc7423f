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
from merit.serving.app.answers import Answers
from merit.serving.server.serve import check_signature
from merit.stream.brokers import broker as brokers
from merit.stream.brokers.broker import Broker
from merit.stream.engine import Engine
from merit.stream.events import Event
from merit.stream.isolated_scorer import Alone
from merit.stream.metrics import Meters
from merit.stream.scorer import Scorer

END_SECONDS = 10.0
"""Seconds that shutdown may take after the events in progress are done or abandoned."""
MOST_STUCK = 4
"""Number of stuck batches at which the worker exits; each occupies a thread and perhaps a core."""
LAG_SECONDS = 2.0
"""Seconds between two queries for the lag, and the time limit of one."""


def run(
    how: Stream, version: str | None, signed: Signing, say: Callable[[str], None], commit: str | None = None
) -> None:
    """Process events until SIGTERM or SIGINT; events in progress are finished first.

    Args:
        how: the section `stream` of the lock.
        version: the package's version in the registry, if it has one.
        signed: the section `release.signing` of the lock, which says what signatures are trusted.
        say: shows a line to the user.
        commit: the Git commit of the package, where it is known.

    Raises:
        MeritError: the package does not match its manifest or its signature, the client library of the broker is not
            installed, the broker can't be reached, or the port for metrics is taken.
    """
    check_signature(artifacts.PACKAGE, signed)
    if commit is not None:
        os.environ[artifacts.COMMIT] = commit  # the child process that scores events alone reads it too
    package = Package.load(artifacts.PACKAGE)
    broker = brokers.of(how, say)
    named = version or package.digest
    meters = Meters(package.manifest["model"], named, package.commit)
    engine = _engine(how, package, named, meters, say)
    meters.show(how.metrics_port)
    import uvloop

    last = last_call(how.answer_seconds + END_SECONDS, say)
    try:
        uvloop.run(_work(broker, engine, meters, last))
    finally:
        last.cancel()


def last_call(seconds: float, say: Callable[[str], None]) -> threading.Timer:
    """Return a timer that ends the process some seconds after its start, even if the event loop hangs."""

    def end() -> None:
        say(f"stream: did not end in {seconds:g} seconds, so it is killed; unfinished events are redelivered")
        os._exit(MeritError.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    return timer


def _engine(how: Stream, package: Package, version: str, meters: Meters, say: Callable[[str], None]) -> Engine:
    columns = [column["name"] for column in package.inputs]
    scorer = Scorer(Answers(package, version, how.rows), columns, how.key)
    # One delivery is spent when an event gets here: it may have killed a worker. All tries must end within
    # answer_seconds, after which the broker would redeliver the event to another worker.
    tries, seconds = how.max_deliveries - 1, how.answer_seconds / how.max_deliveries
    alone = Alone(artifacts.PACKAGE, version, how.key, tries=tries, seconds=seconds)
    return Engine(scorer, alone, meters, say, seconds)


async def _work(broker: Broker, engine: Engine, meters: Meters, last: threading.Timer) -> None:
    how, say, stop = broker.how, broker.say, asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await _until(stop, _reach(broker, how.connect_seconds))
    if stop.is_set():
        last.start()
        return

    broker.lines.is_open = True
    try:
        await _until(stop, _serve(broker, engine, meters))
        say("stream: stopping; events in progress are finished first")
    finally:
        last.start()
        await engine.stop(how.answer_seconds)
        broker.lines.is_open = False
        with contextlib.suppress(Exception):  # the broker may be gone; unacknowledged events are redelivered
            async with asyncio.timeout(END_SECONDS / 2):
                await broker.stop()


async def _serve(broker: Broker, engine: Engine, meters: Meters) -> None:
    """Start the consumer, and monitor it until cancelled."""

    async def take(events: Sequence[Event]) -> None:
        await engine.handle(broker, events)

    await broker.start(take)
    how = broker.how
    broker.say(f"stream: {broker.address}: {how.events} -> {how.answers}, what can't be answered -> {how.dead_letters}")
    await _watch(broker, engine, meters)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until it ends, fails, or `stop` is set, which cancels it."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
    working.cancel()


async def _reach(broker: Broker, seconds: float) -> None:
    """Connect, with retries for some seconds.

    Raises:
        MeritError: the broker can't be reached in that time, or a stream or queue is missing.
    """
    last, wait = "no answer", 0.1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await broker.connect()
                except MeritError:
                    raise
                except Exception as error:  # noqa: BLE001  # each client has its own
                    last = broker.told(error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 2.0)
    last = broker.fault or last
    raise MeritError(
        f"stream: {broker.address} can't be reached in {seconds:g} seconds ({last}); start the broker, or say where it "
        f"is in stream.url or {brokers.URL}"
    )


async def _watch(broker: Broker, engine: Engine, meters: Meters) -> None:
    """Update the lag metric regularly, and check for stuck batches.

    Raises:
        MeritError: the stream or its consumers were removed from the broker, which a restart creates again; or too many
            batches are stuck, which only a new process cures.
    """
    answers = True
    while True:
        if engine.stuck >= MOST_STUCK:
            raise MeritError(f"stream: {engine.stuck} batches are stuck in scoring; start again")
        try:
            async with asyncio.timeout(LAG_SECONDS):
                meters.lag.set(await broker.lag())
            meters.up.set(1)
            if not answers:
                broker.say(f"stream: {broker.address} answers again")
            answers = True
        except MeritError:
            raise
        except Exception as error:  # noqa: BLE001  # each client has its own types; the metrics show that it is down
            meters.lag.set(float("nan"))
            meters.up.set(0)
            if answers:
                why = f"waited {LAG_SECONDS:g} seconds" if isinstance(error, TimeoutError) else broker.told(error)
                broker.say(f"stream: {broker.address} does not answer ({why}); trying again")
            answers = False
        await asyncio.sleep(LAG_SECONDS)
