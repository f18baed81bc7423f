"""The guard on connections, with uvicorn's own protocol and a transport that only remembers."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from merit.serving import guard, settings
from merit.serving.failures import GivenUp

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

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Lifespan:
    """Where an app meets uvicorn's configuration."""

    def __init__(self) -> None:
        self.config = uvicorn.Config(_app, log_config=None, http="httptools")
        self.config.load()

    async def receive(self) -> Any:
        """Never called."""


def _run(what: Callable[[Callable[[], Any], guard.Watch], Any], **told: Any) -> None:
    async def live() -> None:
        lifespan, watch = Lifespan(), guard.Watch(2)
        how = settings.Settings(**told)
        made = guard._guarded(lifespan.config.http_protocol_class, how.max_connections, how.max_bytes, watch)
        state = ServerState()

        def connect() -> Any:
            connection = made(lifespan.config, state, {})
            connection.connection_made(Transport())
            return connection

        await what(connect, watch)

    asyncio.run(live())


def test_uvicorn_has_what_the_guard_needs() -> None:
    lifespan = Lifespan()
    base = lifespan.config.http_protocol_class
    assert guard.guard(lifespan.receive, settings.Settings(max_connections=10))
    assert lifespan.config.http_protocol_class is not base
    assert issubclass(lifespan.config.http_protocol_class, base)
    assert lifespan.config.loaded_app is _app


def test_another_server_is_told_of_and_served_without(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Any: ...

    assert not guard.guard(receive, settings.Settings())
    assert "connections have no guard" in caplog.text


def test_a_connection_that_brings_nothing_is_closed_and_then_cut_off() -> None:
    async def what(connect: Any, watch: Any) -> None:
        silent, busy = connect(), connect()
        busy.data_received(HEAD + b"content-length: 5\r\n\r\n")
        for now in (0.0, 1.0, 2.1):
            watch.sweep(now)
        assert silent.transport.ended == "closed"
        assert busy.transport.ended == ""
        for now in (2.2, 5.0):
            watch.sweep(now)
        assert silent.transport.ended == "aborted"

    _run(what)


def test_whoever_reads_no_answers_is_cut_off_whatever_is_in_hand() -> None:
    async def what(connect: Any, watch: Any) -> None:
        deaf, slow = connect(), connect()
        for each in (deaf, slow):
            each.data_received(HEAD + b"content-length: 5\r\n\r\n")
            each.pause_writing()
        watch.sweep(0.0)
        slow.resume_writing()
        for now in (1.0, 2.1):
            watch.sweep(now)
        assert deaf.transport.ended == "aborted"
        assert slow.transport.ended == ""
        deaf.connection_lost(None)

    _run(what)


def test_whoever_sends_request_after_request_without_an_answer_is_cut_off() -> None:
    async def what(connect: Any, watch: Any) -> None:
        eager, mad = connect(), connect()
        for connection, count in ((eager, 100), (mad, 1000)):
            connection.data_received((HEAD + b"content-length: 0\r\n\r\n") * count)
        assert eager.transport.ended == ""
        assert mad.transport.ended == "aborted"

    _run(what)


def test_a_head_that_is_too_long_gets_431_also_if_it_comes_at_once() -> None:
    async def what(connect: Any, watch: Any) -> None:
        long, many = connect(), connect()
        long.data_received(HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n")
        assert long.transport.written.startswith(b"HTTP/1.1 431 ")
        assert long.transport.ended == "closed"
        many.data_received(HEAD + b"content-length: 70000\r\n\r\n" + b"x" * 70_000)
        assert many.transport.ended == ""

    _run(what)


def test_of_a_client_that_left_there_is_no_traceback() -> None:
    errors = (
        GivenUp(),
        RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"),
        ValueError(),
    )
    lines = [logging.makeLogRecord({"exc_info": (type(each), each, None)}) for each in errors]
    assert [guard._is_news(line) for line in [*lines, logging.makeLogRecord({})]] == [False, False, True, True]


def test_a_head_that_drips_is_as_good_as_nothing() -> None:
    async def what(connect: Any, watch: Any) -> None:
        slow = connect()
        for now in (0.0, 1.0, 2.1):
            slow.data_received(b"P")
            watch.sweep(now)
        assert slow.transport.ended == "closed"

    _run(what)


def test_a_head_without_end_gets_431() -> None:
    async def what(connect: Any, watch: Any) -> None:
        endless = connect()
        endless.data_received(HEAD)
        for _ in range(70):
            endless.data_received(b"x: " + b"y" * 1000 + b"\r\n")
        assert endless.transport.written.startswith(b"HTTP/1.1 431 ")
        assert endless.transport.ended == "closed"

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


def test_at_the_end_a_request_on_its_way_is_answered_and_then_closed() -> None:
    async def what(connect: Any, watch: Any) -> None:
        idle, late = connect(), connect()
        idle.shutdown()
        late.shutdown()
        late.data_received(HEAD + b"content-length: 0\r\n\r\n")
        await asyncio.sleep(guard.LINGER_SECONDS + 0.1)
        assert idle.transport.ended == "closed"
        assert b"connection: close" in late.transport.written
        assert late.transport.ended == "closed"

    _run(what)
