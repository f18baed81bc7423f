"""The guard on connections, with uvicorn's own protocol and a transport that only remembers."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from merit.serving import settings
from merit.serving.app.error_responses import ResponseAborted
from merit.serving.server import connection, connection_guard, connection_watchdog

HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\n"


class Transport(asyncio.Transport):
    """Remembers what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.ended = b"", ""

    def write(self, data: Any) -> None:
        """Remember."""
        self.written += bytes(data)

    def close(self) -> None:
        """Remember."""
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        """Remember."""
        self.ended = "aborted"

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return bool(self.ended)

    def can_write_eof(self) -> bool:
        """Say that it can."""
        return True

    def write_eof(self) -> None:
        """Remember."""
        self.written += b"<end>"

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path and a dot, once something of the body has come."""
    if (await receive())["type"] == "http.disconnect":
        raise ResponseAborted
    body = scope["path"].encode() + b"."
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Lifespan:
    """Where an app meets uvicorn's configuration."""

    def __init__(self) -> None:
        self.config = uvicorn.Config(_app, log_config=None, http="httptools")
        self.config.load()

    async def receive(self) -> Any:
        """Never called."""


def _run(what: Callable[[Callable[[], Any], connection_watchdog.ConnectionWatchdog], Any], **told: Any) -> None:
    async def live() -> None:
        lifespan, watch = Lifespan(), connection_watchdog.ConnectionWatchdog(2)
        how = settings.Settings(**told)
        made: Any = connection_guard.create_protocol_class(how, watch)
        state = ServerState()

        def connect() -> Any:
            new = made(lifespan.config, state, {})
            new.connection_made(Transport())
            return new

        await what(connect, watch)

    asyncio.run(live())


def test_uvicorn_has_what_the_guard_needs() -> None:
    lifespan = Lifespan()
    base = lifespan.config.http_protocol_class
    assert connection_guard.guard_connections(lifespan.receive, settings.Settings(max_connections=10))
    assert lifespan.config.http_protocol_class is not base
    assert issubclass(lifespan.config.http_protocol_class, base)
    assert lifespan.config.loaded_app is _app


def test_another_server_is_told_of_and_served_without(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Any: ...

    assert not connection_guard.guard_connections(receive, settings.Settings())
    assert "connections have no guard" in caplog.text


def test_a_connection_that_brings_nothing_is_closed_and_then_cut_off() -> None:
    async def what(connect: Any, watch: Any) -> None:
        silent, busy = connect(), connect()
        busy.data_received(HEAD + b"content-length: 5\r\n\r\n")
        for now in (0.0, 1.0, 2.1):
            watch.close_stalled(now)
        assert silent.transport.ended == "closed"
        assert busy.transport.ended == ""
        for now in (2.2, 5.0):
            watch.close_stalled(now)
        assert silent.transport.ended == "aborted"

    _run(what)


def test_whoever_reads_no_answers_is_cut_off_whatever_is_in_hand() -> None:
    async def what(connect: Any, watch: Any) -> None:
        deaf, slow = connect(), connect()
        for each in (deaf, slow):
            each.data_received(HEAD + b"content-length: 5\r\n\r\n")
            each.pause_writing()
        watch.close_stalled(0.0)
        slow.resume_writing()
        for now in (1.0, 2.1):
            watch.close_stalled(now)
        assert deaf.transport.ended == "aborted"
        assert slow.transport.ended == ""
        deaf.connection_lost(None)

    _run(what)


@pytest.mark.parametrize("count", [2, 500, 1000])
def test_all_requests_that_come_at_once_are_answered_in_their_order(count: int) -> None:
    async def what(connect: Any, watch: Any) -> None:
        eager = connect()
        asked = [b"GET /n%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(count)]
        eager.data_received(b"".join(asked))
        assert len(eager.pipeline) <= connection.MAX_QUEUED_REQUESTS + connection.PARSE_BYTES / len(asked[0])
        assert eager.flow.read_paused
        while b"/n%d." % (count - 1) not in eager.transport.written:
            await asyncio.sleep(0)
        answers = eager.transport.written.split(b"HTTP/1.1 ")[1:]
        assert [each.rpartition(b"/n")[2] for each in answers] == [b"%d." % n for n in range(count)]
        assert not eager.flow.read_paused
        assert eager.transport.ended == ""

    _run(what)


def test_a_head_that_is_too_long_gets_431_also_if_it_comes_at_once() -> None:
    async def what(connect: Any, watch: Any) -> None:
        long, many = connect(), connect()
        long.data_received(HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n")
        assert long.transport.written.startswith(b"HTTP/1.1 431 ")
        assert long.transport.written.endswith(b"<end>")
        many.data_received(HEAD + b"content-length: 70000\r\n\r\n" + b"x" * 70_000)
        assert many.transport.written == b""

    _run(what)


def test_a_head_without_end_is_bounded_also_while_another_request_is_in_hand() -> None:
    async def what(connect: Any, watch: Any) -> None:
        busy = connect()
        busy.data_received(HEAD + b"content-length: 0\r\n\r\n" + HEAD)
        for _ in range(70):
            busy.data_received(b"x: " + b"y" * 1000 + b"\r\n")
        assert busy.is_rejected
        await _until(lambda: busy.transport.written.endswith(b"<end>"))
        assert re.findall(rb"HTTP/1.1 (\d+)", busy.transport.written) == [b"200", b"431"]

    _run(what)


def test_of_a_client_that_left_there_is_no_traceback() -> None:
    errors = (
        ResponseAborted(),
        RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"),
        ValueError(),
    )
    lines = [logging.makeLogRecord({"exc_info": (type(each), each, None)}) for each in errors]
    assert [connection_guard._is_relevant(line) for line in [*lines, logging.makeLogRecord({})]] == [
        False,
        False,
        True,
        True,
    ]


def test_a_head_that_drips_is_as_good_as_nothing() -> None:
    async def what(connect: Any, watch: Any) -> None:
        slow = connect()
        for now in (0.0, 1.0, 2.1):
            slow.data_received(b"P")
            watch.close_stalled(now)
        assert slow.transport.ended == "closed"

    _run(what)


def test_a_head_without_end_gets_431() -> None:
    async def what(connect: Any, watch: Any) -> None:
        endless = connect()
        endless.data_received(HEAD)
        for _ in range(70):
            endless.data_received(b"x: " + b"y" * 1000 + b"\r\n")
        assert endless.transport.written.startswith(b"HTTP/1.1 431 ")

    _run(what)


def test_the_rest_of_a_refused_body_is_dropped_up_to_a_bound() -> None:
    async def what(connect: Any, watch: Any) -> None:
        refused = connect()
        refused.data_received(HEAD + b"content-length: 1000000\r\n\r\nx")
        await asyncio.sleep(0.01)
        assert refused.transport.written.startswith(b"HTTP/1.1 200 ")
        refused.data_received(b"x" * 90_000)
        assert refused.transport.ended == ""
        refused.data_received(b"x" * 20_000)
        assert refused.transport.ended == "closed"

    _run(what, max_bytes=100_000)


def test_a_connection_past_the_bound_gets_503_and_when_to_come_again() -> None:
    async def what(connect: Any, watch: Any) -> None:
        kept, over = connect(), connect()
        assert kept.transport.ended == ""
        assert over.transport.written.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in over.transport.written
        assert over.transport.ended == "closed"

    _run(what, max_connections=1)


CHUNKED = b"transfer-encoding: chunked\r\n"
FRAMED = {
    "length and chunks": HEAD + b"content-length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
    "a length with a sign": HEAD + b"content-length: +1\r\n\r\na",
    "a length in hexadecimal": HEAD + b"content-length: 0x1\r\n\r\na",
    "a space before the colon": HEAD + b"content-length : 1\r\n\r\na",
    "a folded line": HEAD + b"x: a\r\n b\r\ncontent-length: 1\r\n\r\na",
    "bare line feeds": b"POST / HTTP/1.1\nhost: x\ncontent-length: 1\n\na",
    "chunks of HTTP/1.0": b"POST / HTTP/1.0\r\nhost: x\r\n" + CHUNKED + b"\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"POST / HTTP/2.0\r\nhost: x\r\ncontent-length: 1\r\n\r\na",
    "no host": b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\na",
    "two hosts": HEAD + b"host: y\r\ncontent-length: 1\r\n\r\na",
    "an upgrade": HEAD + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\na",
    "endless extensions": HEAD + CHUNKED + b"\r\n1;" + b"a" * 100_000 + b"\r\na\r\n0\r\n\r\n",
    "endless zeros": HEAD + CHUNKED + b"\r\n" + b"0" * 100_000 + b"1\r\na\r\n0\r\n\r\n",
    "endless trailers": HEAD + CHUNKED + b"\r\n0\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
    "half a chunk": HEAD + CHUNKED + b"\r\n1\r\nab0\r\n\r\n",
} | {
    f"transfer-encoding: {coding.decode()}": HEAD + b"transfer-encoding: %b\r\n\r\n1\r\na\r\n0\r\n\r\n" % coding
    for coding in (b"", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b",chunked",
                   b"xchunked", b"identity\r\ntransfer-encoding: chunked", b"chunked\r\ntransfer-encoding: chunked")
}  # fmt: skip


@pytest.mark.parametrize("raw", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("size", [10**6, 7])
def test_what_could_be_cut_into_other_requests_gets_400_after_the_answers_before(raw: bytes, size: int) -> None:
    async def what(connect: Any, watch: Any) -> None:
        good = b"GET /good HTTP/1.1\r\nhost: x\r\n\r\n"
        strict, whole = connect(), good + raw + b"GET /evil HTTP/1.1\r\nhost: x\r\n\r\n"
        for start in range(0, len(whole), size):
            strict.data_received(whole[start : start + size])
        await _until(lambda: strict.transport.written.endswith(b"<end>"))
        strict.data_received(good)
        await asyncio.sleep(0.001)
        assert re.findall(rb"HTTP/1.1 (\d+)", strict.transport.written) == [b"200", b"400"]
        assert b"/good." in strict.transport.written
        assert b"/evil." not in strict.transport.written

    _run(what)


FINE = {
    "chunks": HEAD + b"Transfer-Encoding:\tChunked \r\n\r\n1;a=b\r\na\r\n0\r\nx-api-key: y\r\n\r\n",
    "small chunks": HEAD + CHUNKED + b"\r\n" + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n",
    "HTTP/1.0 without a host": b"POST / HTTP/1.0\r\ncontent-length: 1\r\n\r\na",
    "lines before": b"\r\n\r\n" + HEAD + b"content-length: 1\r\n\r\na",
    "an upgrade that may be left": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
}


@pytest.mark.parametrize("raw", FINE.values(), ids=FINE)
def test_what_is_one_request_to_all_is_answered_and_trailers_are_no_headers(raw: bytes) -> None:
    async def what(connect: Any, watch: Any) -> None:
        fine = connect()
        fine.data_received(raw)
        heads = [name for name, _ in fine.cycle.scope["headers"]]
        await _until(lambda: fine.transport.written.endswith(b"."))
        assert fine.transport.written.startswith(b"HTTP/1.1 200 ")
        assert b"x-api-key" not in heads

    _run(what)


def test_a_refused_connection_is_closed_after_a_moment_and_cut_off_if_more_comes_than_is_dropped() -> None:
    async def what(connect: Any, watch: Any) -> None:
        quiet, loud = connect(), connect()
        for each in (quiet, loud):
            each.data_received(b"nonsense\r\n\r\n")
            assert each.transport.written.startswith(b"HTTP/1.1 400 ")
            assert each.transport.ended == ""
        for _ in range(3):
            loud.data_received(b"x" * 40_000)
        assert loud.transport.ended == "aborted"
        await asyncio.sleep(0.01)
        assert quiet.transport.ended == "closed"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "LINGER_SECONDS", 0.005)
        _run(what, max_bytes=100_000)


def test_at_the_end_what_comes_is_answered_as_the_last_until_an_idle_connection_would_be_closed() -> None:
    async def what(connect: Any, watch: Any) -> None:
        idle, late, eager = connect(), connect(), connect()
        for each in (idle, late, eager):
            each.timeout_keep_alive = 0.03
        eager.data_received(GET * 300)
        for each in (idle, late, eager):
            each.shutdown()
        await asyncio.sleep(0.01)
        assert idle.transport.ended == ""
        late.data_received(GET)
        late.data_received(GET)
        await _until(lambda: late.transport.ended and eager.transport.ended and idle.transport.ended)
        assert idle.transport.written == b""
        for each, count in ((late, 2), (eager, 300)):
            *first, last = each.transport.written.split(b"HTTP/1.1 ")[1:]
            assert len(first) == count - 1
            assert b"connection: close" in last
            assert not any(b"connection: close" in answer for answer in first)

    _run(what)


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def _until(is_true: Callable[[], Any]) -> None:
    """Wait for something, at most for a second."""
    for _ in range(1000):
        if is_true():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came")
