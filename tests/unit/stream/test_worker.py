"""`merit stream`: what is told before and while it runs."""

import asyncio
import signal
from collections.abc import Callable, Sequence

import pytest

from merit.config import lock as locks
from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.stream import worker
from merit.stream.brokers import registry as brokers
from merit.stream.brokers.interface import Broker, HandleBatch, RecordPair
from merit.stream.engine import Engine
from merit.stream.events import Event


class Quiet(Broker):
    """A broker that is there, until it forgets its consumers."""

    forgotten = False
    stopped = False

    async def connect(self) -> None: ...

    async def start(self, take: HandleBatch) -> None:
        if not self.forgotten:
            asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGTERM)

    async def publish(self, pairs: Sequence[RecordPair]) -> Sequence[BaseException | None]:
        return [None] * len(pairs)

    async def acknowledge(self, events: Sequence[Event]) -> None: ...

    async def read_lag(self) -> float:
        if self.forgotten:
            raise MeritError("stream: the group was removed")
        return 0.0

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def broker(workdir, make_package, lock, monkeypatch):
    make_package(workdir / "model")
    lock = lock.model_copy(update={"stream": Stream(metrics_port=None)})
    (workdir / "params.yaml").write_text(locks.render_lock(lock))
    made = Quiet(lock.stream, "nats://127.0.0.1:4222", lambda line: None)

    def of(how: Stream, say: Callable[[str], None]) -> Broker:
        made.show_line = say
        return made

    monkeypatch.setattr(brokers, "create_broker", of)
    return made


def test_it_says_what_it_does_and_ends_well_when_it_is_told_to(broker, call):
    code, out, err = call("stream")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "stream: nats://127.0.0.1:4222: events -> predictions, what can't be answered -> dead",
        "stream: stopping; events in progress are finished first",
    ]
    assert broker.stopped


def test_a_broker_that_forgot_its_consumers_ends_it_with_one_line(broker, call):
    broker.forgotten = True
    code, _, err = call("stream")
    assert code == 2
    assert err.splitlines()[1:] == ["error: stream: the group was removed"]
    assert broker.stopped


def test_it_ends_when_it_is_told_to_though_the_group_lets_it_wait(broker, call, monkeypatch):
    async def start(take: HandleBatch) -> None:
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGTERM)
        await asyncio.sleep(60)

    monkeypatch.setattr(broker, "start", start)
    code, _, err = call("stream")
    assert (code, err) == (0, "stream: stopping; events in progress are finished first\n")
    assert broker.stopped


def test_a_connection_that_does_not_close_holds_up_the_end_for_a_bounded_time(broker, call, monkeypatch):
    monkeypatch.setattr(worker, "SHUTDOWN_TIMEOUT_S", 0.1)

    async def stop() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(broker, "stop", stop)
    assert call("stream")[0] == 0


def test_what_hangs_all_the_same_is_cut_off(monkeypatch):
    told: list[str] = []
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    timer = worker.create_exit_timer(0.01, told.append)
    timer.start()
    timer.join(10)
    assert codes == [2]
    assert told == ["stream: did not end in 0.01 seconds, so it is killed; unfinished events are redelivered"]


def test_too_many_batches_that_hang_end_it_with_one_line(broker, call, monkeypatch):
    monkeypatch.setattr(Engine, "stuck_batches", 4)
    code, _, err = call("stream")
    assert code == 2
    assert err.splitlines()[1:] == ["error: stream: 4 batches are stuck in scoring; start again"]


def test_a_worker_may_show_its_metrics_on_a_port_of_its_own(broker, call, monkeypatch):
    shown: list[int | None] = []
    monkeypatch.setattr(worker.StreamMetrics, "serve", lambda self, port: shown.append(port))
    assert call("stream", "--metrics-port", "9465")[0] == 0
    assert shown == [9465]


def test_settings_given_as_words_are_refused_with_where_they_go(broker, call):
    code, _, err = call("stream", "stream=redis", "stream.rows=8")
    assert code == 2
    assert "takes no 'stream=redis': what params.yaml says counts" in err
    assert "`merit compose stream=redis stream.rows=8`" in err


def test_a_broker_that_does_not_answer_is_told_once_and_when_it_answers_again(broker, call, monkeypatch):
    monkeypatch.setattr(worker, "LAG_INTERVAL_S", 0.005)
    answers = iter([ConnectionError("redis://me:secret@host"), TimeoutError(), None])

    async def lag() -> float:
        if error := next(answers, None):
            raise error
        return 0.0

    monkeypatch.setattr(broker, "read_lag", lag)
    _, _, err = call("stream")
    assert err.splitlines()[1:3] == [
        "stream: nats://127.0.0.1:4222 does not answer (redis://***@host); trying again",
        "stream: nats://127.0.0.1:4222 answers again",
    ]
    assert len(err.splitlines()) == 4


def test_one_that_is_never_reached_is_told_with_the_last_reason(monkeypatch):
    monkeypatch.delenv("MERIT_STREAM_URL", raising=False)
    broker = Quiet(Stream(), "nats://127.0.0.1:1", print)

    async def connect() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    broker.connect = connect
    with pytest.raises(MeritError, match=r"can't be reached in 0.05 seconds \(Connection refused\); start the broker"):
        asyncio.run(worker._connect_with_retries(broker, 0.05))


def test_without_a_package_it_does_not_start(workdir, lock, call):
    (workdir / "params.yaml").write_text(locks.render_lock(lock))
    code, _, err = call("stream")
    assert code == 2
    assert err.startswith("error: model/manifest.json: not found")
    assert len(err.splitlines()) == 1
