"""`merit stream` against real brokers: nothing lost, nothing stopped, whatever happens to a worker or to an event."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support import brokers
from tests.support.brokers import Server, Worker, until
from tests.support.endpoint import free_port

from merit.config import lock as locks

GOOD = {"shop": "north", "kind": 1, "size": 40.0, "weight": 0.5}
COMMAND = [str(Path(sys.executable).with_name("merit")), "stream"]
SCHEMES = {"nats": "nats", "redis": "redis", "rabbit": "amqp", "kafka": "kafka"}


class Nats:
    """What a test asks of NATS."""

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, f"nats://127.0.0.1:{server.port}"

    def _do(self, what: Callable[[Any], Any]) -> Any:
        import nats

        async def run() -> Any:
            client = await nats.connect(self.url)
            try:
                return await what(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def send(self, events: list[bytes]) -> None:
        """Publish events, confirmed."""

        async def what(js: Any) -> None:
            from nats.js.errors import NotFoundError

            try:
                await js.find_stream_name_by_subject("events")
            except NotFoundError:  # no worker was there yet
                await js.add_stream(name="events", subjects=["events"])
            for start in range(0, len(events), 500):
                await asyncio.gather(*(js.publish("events", event) for event in events[start : start + 500]))

        self._do(what)

    def read(self, subject: str) -> list[tuple[bytes, dict[str, str]]]:
        """Return the bodies and headers of what a subject holds."""

        async def what(js: Any) -> list[tuple[bytes, dict[str, str]]]:
            last = (await js.stream_info(subject)).state.last_seq
            found = [await js.get_msg(subject, place) for place in range(1, last + 1)]
            return [(each.data or b"", dict(each.headers or {})) for each in found]

        return self._do(what)

    def count(self, subject: str) -> int:
        """Return how many records a subject holds."""

        async def what(js: Any) -> int:
            return int((await js.stream_info(subject)).state.messages)

        return self._do(what)


class Redis:
    """What a test asks of Redis."""

    def __init__(self, server: Server) -> None:
        import redis

        self.server, self.url = server, f"redis://127.0.0.1:{server.port}/0"
        self.client = redis.Redis.from_url(self.url)

    def send(self, events: list[bytes]) -> None:
        """Add events to the stream."""
        pipe = self.client.pipeline(transaction=False)
        for event in events:
            pipe.xadd("events", {"data": event})
        pipe.execute()

    def read(self, subject: str) -> list[tuple[bytes, dict[str, str]]]:
        """Return the events and the other fields of a stream's entries."""
        found = [dict(fields) for _, fields in self.client.xrange(subject)]
        return [(each.pop(b"data"), {k.decode(): v.decode() for k, v in each.items()}) for each in found]

    def count(self, subject: str) -> int:
        """Return how many records a stream holds."""
        return int(self.client.xlen(subject))


class Rabbit:
    """What a test asks of RabbitMQ."""

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, f"amqp://guest:guest@127.0.0.1:{server.port}/"

    def _do(self, what: Callable[[Any], Any]) -> Any:
        import aio_pika

        async def run() -> Any:
            async with await aio_pika.connect(self.url) as connection:
                return await what(await connection.channel())

        return asyncio.run(run())

    def send(self, events: list[bytes]) -> None:
        """Publish events, confirmed."""
        import aio_pika

        async def what(channel: Any) -> None:
            await channel.declare_queue("events", durable=True, arguments={"x-queue-type": "quorum"})
            for start in range(0, len(events), 500):
                part = [aio_pika.Message(event) for event in events[start : start + 500]]
                await asyncio.gather(*(channel.default_exchange.publish(each, "events") for each in part))

        self._do(what)

    def read(self, subject: str) -> list[tuple[bytes, dict[str, str]]]:
        """Take all that a queue holds, and give it back."""

        async def what(channel: Any) -> list[tuple[bytes, dict[str, str]]]:
            queue = await channel.get_queue(subject)
            found: list[Any] = []

            async def keep(message: Any) -> None:
                found.append(message)

            await queue.consume(keep)
            while len(found) < queue.declaration_result.message_count:
                await asyncio.sleep(0.05)
            return [(each.body, {"id": each.message_id, **each.headers}) for each in found]

        return self._do(what)

    def count(self, subject: str) -> int:
        """Return how many messages a queue holds."""

        async def what(channel: Any) -> int:
            return int((await channel.get_queue(subject)).declaration_result.message_count)

        return self._do(what)


class Kafka:
    """What a test asks of Kafka, by another client than the worker's."""

    PARTITIONS: ClassVar[dict[str, int]] = {"events": 4, "predictions": 2, "dead": 1}

    def __init__(self, server: brokers.Kafka, compression: str = "none") -> None:
        import confluent_kafka

        self.server, self.url = server, f"kafka://127.0.0.1:{server.port}"
        told = {"bootstrap.servers": f"127.0.0.1:{server.port}", "log_level": 0}
        sent = {"compression.type": compression, "message.max.bytes": 2 * 1024 * 1024}
        self._producer = confluent_kafka.Producer({**told, **sent})
        self._consumer = confluent_kafka.Consumer({**told, "group.id": "test", "auto.offset.reset": "earliest"})
        for topic, partitions in self.PARTITIONS.items():
            server.do("make", topic, str(partitions))

    def send(self, events: list[bytes]) -> None:
        """Publish events to each partition in turn, confirmed."""
        for number, event in enumerate(events):
            self._producer.produce("events", event, partition=number % self.PARTITIONS["events"])
        assert self._producer.flush(30) == 0

    def read(self, subject: str) -> list[tuple[bytes, dict[str, str]]]:
        """Return the bodies and headers of what a topic holds."""
        most = self.count(subject)
        self._consumer.assign(self._partitions(subject))
        found = [self._consumer.poll(30) for _ in range(most)]
        told = [{name: value.decode() for name, value in each.headers()} for each in found]
        return [(each.value(), headers) for each, headers in zip(found, told, strict=True)]

    def count(self, subject: str) -> int:
        """Return how many records a topic holds."""
        ends = [self._consumer.get_watermark_offsets(each, timeout=30) for each in self._partitions(subject)]
        return sum(end - start for start, end in ends)

    def _partitions(self, subject: str) -> list[Any]:
        from confluent_kafka import OFFSET_BEGINNING, TopicPartition

        return [TopicPartition(subject, each, OFFSET_BEGINNING) for each in range(self.PARTITIONS[subject])]


AnyBroker = Nats | Redis | Rabbit | Kafka
KINDS: dict[str, type[AnyBroker]] = {"nats": Nats, "redis": Redis, "rabbit": Rabbit, "kafka": Kafka}
SERVERS = {"nats": brokers.nats, "redis": brokers.redis, "kafka": lambda folder: brokers.kafka()}


@pytest.fixture
def folder(workdir: Path, make_package, values) -> Path:
    """A project with a tiny package in model/, whose lock names no broker yet."""
    make_package(workdir / "model")
    return workdir


@pytest.fixture(params=SERVERS)
def broker(request, tmp_path_factory) -> Iterator[AnyBroker]:
    """A broker, empty."""
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield KINDS[request.param](server)


@pytest.fixture
def start(folder: Path, make_lock) -> Iterator[Callable[..., Worker]]:
    """Start `merit stream` against a broker; what a test leaves running is killed."""
    running: list[Worker] = []

    def begin(broker: AnyBroker, **told: Any) -> Worker:
        kind = next(name for name, each in KINDS.items() if isinstance(broker, each))
        port = free_port()
        plain = {"broker": kind, "url": f"{SCHEMES[kind]}://127.0.0.1:{broker.server.port}", "answer_seconds": 4}
        section = {**plain, "metrics_port": port, "rows": 64, **told}
        (folder / "params.yaml").write_text(locks.render_lock(make_lock(lambda values: values.update(stream=section))))
        log = folder / f"worker-{len(running)}.log"
        environment = {**os.environ, "MERIT_STREAM_URL": broker.url, "PYTHONPATH": _path(folder)}
        with log.open("wb") as handle:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("merit")), "stream"],
                cwd=folder,
                env=environment,
                stdout=handle,
                stderr=handle,
            )
        running.append(Worker(process, port, log))
        until(lambda: " -> " in running[-1].said() or process.poll() is not None, "the worker does not start")
        return running[-1]

    yield begin
    for worker in running:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait(30)


def _path(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def _events(count: int, first: int = 0) -> list[bytes]:
    return [json.dumps({"id": f"e{number}", **GOOD}).encode() for number in range(first, first + count)]


def _ids(records: list[tuple[bytes, dict[str, str]]]) -> list[str]:
    return [json.loads(body)["id"] for body, _ in records]


def _cause(told: dict[str, str]) -> str:
    """Return why a dead letter is one; each broker spells its headers in its own way."""
    plain = {name.lower().removeprefix("merit-"): value for name, value in told.items()}
    return f"{plain['cause']}: {plain['reason']}"


POISON = {
    b"\xff\xfe\x00": "not_json: not JSON",
    b"[1, 2]": "not_json: not an object",
    b'{"id": "p1", "shop": "north"}': "bad_row: the columns 'kind', 'weight' are missing",
    json.dumps({"id": "p2", **GOOD, "wieght": 1}).encode(): "bad_row: unknown column 'wieght'; did you mean 'weight'?",
    json.dumps({"id": ["p3"], **GOOD}).encode(): "bad_key: 'id' can't name the event",
    b'{"id": "p4", "shop": "north", "kind": 1' + b"0" * 400 + b', "weight": 1}': "bad_row: ",
}


LONG = "é" * 200
"""A key that has more bytes than RabbitMQ takes as a message's id."""


def _poisoned_stream_goes_on(broker: Any, worker: Worker) -> None:
    long = json.dumps({"id": LONG, **GOOD}).encode()
    broker.send([*_events(100), *POISON, long, *_events(99, first=100), json.dumps(GOOD).encode()])
    until(lambda: broker.count("predictions") == 201 and broker.count("dead") == len(POISON), worker.said())
    answers = [json.loads(body) for body, _ in broker.read("predictions")]
    assert {each["id"] for each in answers} >= {LONG, *(f"e{number}" for number in range(199))}
    assert len({each["id"] for each in answers}) == 201  # the one without an id goes by its place
    assert {(each["model"], each["commit"]) for each in answers} == {("tiny", "c" * 40)}
    dead = {body: _cause(told) for body, told in broker.read("dead")}
    assert dead.keys() == POISON.keys()  # as they came, byte for byte
    assert [body for body, cause in POISON.items() if not dead[body].startswith(cause)] == []
    assert worker.process.poll() is None


def test_poisoned_events_go_to_the_dead_letters_and_the_stream_goes_on(broker, start, folder):
    from merit.scoring.package import Package
    from merit.serving.app.served_model import ServedModel

    worker = start(broker)
    _poisoned_stream_goes_on(broker, worker)
    expected = ServedModel(Package.load(folder / "model"), "v1", 1).predict(json.dumps(GOOD).encode())["predictions"][0]
    found = [json.loads(body)["prediction"] for body, _ in broker.read("predictions")]
    assert found == pytest.approx([expected] * 201, abs=1e-6)
    until(lambda: worker.metric("merit_stream_lag") == 0, "the lag is not told")
    assert worker.metric("merit_stream_answers_total") == 201
    assert worker.metric("merit_stream_dead_letters_total", '{cause="bad_row"}') == 3
    assert worker.end(signal.SIGTERM) == 0
    assert worker.said().splitlines()[1:] == ["stream: stopping; events in progress are finished first"]


def test_an_event_as_large_as_nats_takes_goes_to_the_dead_letters_cut(start, tmp_path):
    with brokers.nats(tmp_path) as server:
        broker = Nats(server)
        worker = start(broker)
        whole = b"x" * (1024 * 1024 - 10)
        broker.send([whole, *_events(20)])
        until(lambda: broker.count("predictions") == 20 and broker.count("dead") == 1, worker.said())
        _limit(broker, "dead", 5000)
        broker.send([whole + b"y", *_events(20, first=20)])
        until(lambda: broker.count("predictions") == 40 and broker.count("dead") == 2, worker.said())
        dead = broker.read("dead")
        assert [told["Merit-Size"] for _, told in dead] == [str(len(whole)), str(len(whole) + 1)]
        assert dead[0][1]["Merit-Digest"] == "sha256:" + hashlib.sha256(whole).hexdigest()
        assert 1024 * 1024 - 1000 < len(dead[0][0]) < 1024 * 1024
        assert len(dead[1][0]) == 1024
        _limit(broker, "predictions", 10)  # no answer fits
        broker.send(_events(1, first=90))
        until(lambda: broker.count("dead") == 3, worker.said())
        assert _cause(broker.read("dead")[2][1]).startswith("failed: its answer has ")
        assert worker.end(signal.SIGTERM) == 0
        assert worker.said().splitlines()[1:] == ["stream: stopping; events in progress are finished first"]


def _limit(broker: Nats, subject: str, most: int) -> None:
    """Have a stream take messages of so many bytes only."""

    async def what(js: Any) -> None:
        await js.update_stream(name=subject, subjects=[subject], max_msg_size=most, duplicate_window=120)

    broker._do(what)


def test_an_entry_of_redis_without_an_event_is_kept_with_its_fields(start, tmp_path):
    with brokers.redis(tmp_path) as server:
        broker = Redis(server)
        worker = start(broker)
        name = broker.client.xadd("events", {"foo": b"\xff", "id": "mine"})
        until(lambda: broker.client.xlen("dead") == 1, worker.said())
        ((_, fields),) = broker.client.xrange("dead")
        assert fields == {
            b"foo": b"\xff",
            b"entry-id": b"mine",
            b"id": name,
            b"cause": b"not_json",
            b"reason": b"the entry has no field 'data'; it has foo, id",
        }
        broker.client.delete("events")
        assert worker.process.wait(30) == 2
        assert len(worker.said().splitlines()) == 2  # what it does, and that the group was removed


def test_dead_letters_that_can_not_be_written_double_no_answers(broker, start):
    worker = start(broker, answer_seconds=2)
    _block(broker, "dead")
    broker.send([*_events(40), b"poison"])
    until(lambda: broker.count("predictions") == 40, worker.said())
    until(lambda: worker.metric("merit_stream_publish_failures_total") >= 4, worker.said())
    until(lambda: worker.metric("merit_stream_lag") == 1, worker.said())
    _unblock(broker, "dead")
    until(lambda: broker.count("dead") == 1, worker.said())
    assert broker.count("predictions") == 40
    assert worker.said().count("dead letters can't be published") == 1


def test_killed_in_the_middle_nothing_is_lost(broker, start):
    broker.send(_events(3000))
    killed = start(broker)
    until(lambda: broker.count("predictions") > 200, "no answers")
    killed.process.kill()
    done = broker.count("predictions")
    assert done < 3000, "it was killed too late to tell anything"
    worker = start(broker)
    until(lambda: len(set(_ids(broker.read("predictions")))) == 3000, worker.said(), seconds=60)
    ids = _ids(broker.read("predictions"))
    assert set(ids) == {f"e{number}" for number in range(3000)}
    assert len(ids) - 3000 <= 64  # at most one batch was answered twice, by the same ids
    until(lambda: worker.metric("merit_stream_lag") == 0, "the lag is not told")
    assert not broker.client.exists("dead") if isinstance(broker, Redis) else broker.count("dead") == 0


def test_workers_of_a_group_share_the_events_and_one_that_is_told_to_stop_leaves_nothing_half_done(broker, start):
    workers = [start(broker), start(broker)]
    broker.send(_events(1500))
    until(lambda: broker.count("predictions") > 200, "no answers")
    assert workers[0].end(signal.SIGTERM) == 0
    until(lambda: broker.count("predictions") >= 1500, workers[1].said())
    until(lambda: workers[1].metric("merit_stream_lag") == 0, "the lag is not told")
    ids = _ids(broker.read("predictions"))
    assert len(set(ids)) == 1500
    # Kafka shares its partitions anew as one joins and as one leaves, and may take no commit of a batch each time.
    assert len(ids) - 1500 <= (2 * 64 if isinstance(broker, Kafka) else 0)
    assert 0 < workers[1].metric("merit_stream_answers_total") < 1500


KILLER = """
import os, signal, time
from merit.scoring import package
predict = package.Package.predict
def deadly(self, columns):
    if (columns["weight"] == 666).any():
        os.kill(os.getpid(), signal.SIGKILL)
    if (columns["weight"] == 667).any():
        time.sleep(600)
    return predict(self, columns)
package.Package.predict = deadly
"""


def test_an_event_that_kills_who_scores_it_goes_to_the_dead_letters_alone(broker, start, folder):
    (folder / "sitecustomize.py").write_text(KILLER)
    deadly = json.dumps({"id": "deadly", **GOOD, "weight": 666}).encode()
    broker.send([*_events(20), deadly, *_events(20, first=20)])
    told = {"answer_seconds": 2, "max_deliveries": 3}
    if isinstance(broker, Kafka):
        told["rows"] = 2  # so many of each partition are scored alone anyway
    assert start(broker, **told).process.wait(30) == -signal.SIGKILL
    worker = start(broker, **told)
    until(lambda: broker.count("predictions") == 40 and broker.count("dead") == 1, worker.said())
    ((body, why),) = broker.read("dead")
    assert body == deadly
    assert _cause(why) == "killed: the process that scored it ended by signal SIGKILL, 2 times"
    assert worker.process.poll() is None
    assert set(_ids(broker.read("predictions"))) == {f"e{number}" for number in range(40)}
    hanging = json.dumps({"id": "hanging", **GOOD, "weight": 667}).encode()
    broker.send([*_events(2, first=40), hanging, *_events(2, first=42)])
    until(lambda: set(_ids(broker.read("predictions"))) == {f"e{number}" for number in range(44)}, worker.said())
    until(lambda: {body for body, _ in broker.read("dead")} == {deadly, hanging}, worker.said())
    assert worker.end(signal.SIGTERM) == 0  # though a thread hangs


def test_what_can_not_be_published_is_held_back_and_the_rest_waits_in_the_broker(broker, start):
    worker = start(broker, rows=16, max_in_flight=16)
    _block(broker, "predictions")
    broker.send(_events(300))
    until(lambda: worker.metric("merit_stream_publish_failures_total") >= 2, worker.said())
    until(lambda: worker.metric("merit_stream_lag") == 300, "nothing is acknowledged")
    assert worker.metric("merit_stream_in_flight") <= 17  # with one that it claims anew
    assert worker.said().count("can't be published") == 1
    _unblock(broker, "predictions")
    until(lambda: len(set(_ids(broker.read("predictions")))) == 300, worker.said())
    until(lambda: worker.metric("merit_stream_lag") == 0, worker.said())


def _block(broker: Nats | Redis | Kafka, subject: str) -> None:
    """Have the broker take no answers, or no dead letters."""
    if isinstance(broker, Redis):
        broker.client.set(subject, "no stream")
        return
    if isinstance(broker, Kafka):
        broker.server.do("block", subject)
        return

    async def what(js: Any) -> None:
        await js.delete_stream(subject)

    broker._do(what)


def _unblock(broker: Nats | Redis | Kafka, subject: str) -> None:
    if isinstance(broker, Redis):
        broker.client.delete(subject)
        return
    if isinstance(broker, Kafka):
        broker.server.do("unblock", subject)
        return

    async def what(js: Any) -> None:
        await js.add_stream(name=subject, subjects=[subject])

    broker._do(what)


def test_a_broker_that_is_killed_and_comes_back_finds_its_worker_waiting(broker, start):
    worker = start(broker)
    broker.send(_events(100))
    until(lambda: broker.count("predictions") == 100, worker.said())
    broker.server.kill()
    until(lambda: worker.metric("merit_stream_broker_up") == 0, "it does not notice")
    broker.server.start()
    broker.send(_events(100, first=100))
    until(lambda: len(set(_ids(broker.read("predictions")))) == 200, worker.said(), seconds=60)
    assert "Traceback" not in worker.said()
    if isinstance(broker, Kafka):  # whose client would say a dozen lines
        assert len(worker.said().splitlines()) <= 5
    assert worker.end(signal.SIGINT) == 0


def test_rabbitmq_keeps_the_same_promises(start, folder):
    with brokers.rabbit() as server:
        broker = Rabbit(server)
        worker = start(broker)
        _poisoned_stream_goes_on(broker, worker)
        until(lambda: worker.metric("merit_stream_lag") == 0, "the lag is not told")
        broker.send(_events(1500, first=1000))
        until(lambda: broker.count("predictions") > 400, "no answers")
        worker.process.kill()
        assert broker.count("predictions") < 1701, "it was killed too late to tell anything"
        worker = start(broker)
        until(lambda: len(set(_ids(broker.read("predictions")))) == 1701, "lost", seconds=60)
        assert len(broker.read("predictions")) - 1701 <= 64
        server.kill()
        until(lambda: worker.metric("merit_stream_broker_up") == 0, "it does not notice")
        server.start()
        broker.send(_events(100, first=5000))
        until(lambda: len(set(_ids(broker.read("predictions")))) == 1801, worker.said(), seconds=60)
        assert "Traceback" not in worker.said()
        assert len(worker.said().splitlines()) <= 4
        assert broker.count("dead") == len(POISON)


def test_a_group_of_kafka_that_may_not_be_joined_is_one_line(start):
    with brokers.kafka() as server:
        broker = Kafka(server)
        server.do("refuse", "100")
        worker = start(broker)
        assert worker.process.wait(30) == 2
        (line,) = worker.said().splitlines()
        assert "the group merit of events can't be joined" in line
        assert "GroupAuthorizationFailedError" in line


def test_an_event_larger_than_kafkas_client_sends_goes_to_the_dead_letters_cut(start):
    with brokers.kafka() as server:
        broker = Kafka(server)
        worker = start(broker)
        whole = b"x" * (1024 * 1024 + 10)
        broker.send([whole, *_events(20)])
        until(lambda: broker.count("predictions") == 20 and broker.count("dead") == 1, worker.said())
        ((body, told),) = broker.read("dead")
        assert (body, told["merit-size"]) == (whole[:1024], str(len(whole)))
        assert told["merit-digest"] == "sha256:" + hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("kind", ["gzip", "lz4", "snappy", "zstd"])
def test_events_that_kafka_has_compressed_are_answered(start, kind):
    with brokers.kafka() as server:
        broker = Kafka(server, compression=kind)
        worker = start(broker)
        broker.send(_events(40))
        until(lambda: broker.count("predictions") == 40, worker.said())
        assert sorted(_ids(broker.read("predictions"))) == sorted(f"e{number}" for number in range(40))


def test_a_broker_that_is_not_there_is_one_line(folder, make_lock):
    section = {"url": f"nats://127.0.0.1:{free_port()}", "connect_seconds": 1, "metrics_port": None}
    (folder / "params.yaml").write_text(locks.render_lock(make_lock(lambda values: values.update(stream=section))))
    environment = {**os.environ, "MERIT_STREAM_URL": section["url"].replace("//", "//someone:secret@")}
    done = subprocess.run(COMMAND, check=False, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2
    assert "can't be reached in 1 seconds" in done.stderr
    assert "MERIT_STREAM_URL" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_leave_to_make_streams_what_lacks_is_told(broker, start):
    if isinstance(broker, Kafka):
        broker.server.do("remove", "events")
    worker = start(broker, declare=False)
    assert worker.process.wait(30) == 2
    assert "make" in worker.said()
    assert "stream.declare" in worker.said()
    assert len(worker.said().splitlines()) == 1
