"""Provides an HTTP/1.1 connection for uvicorn that limits header size, pipelined requests and framing bytes.

Requests that a proxy in front could split differently (request smuggling) are rejected, as RFC 9112 demands. A rejected
client can still read the responses to its earlier requests and the error before the connection is closed.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from merit.serving.server.guard import Watch

HEAD_BYTES = 64 * 1024
"""Maximum bytes of a request's head, and base allowance for the bytes that frame the chunks of a body."""
CHUNK_BYTES = 8
"""Additional framing bytes allowed per body byte, because some clients send small chunks."""
PART_BYTES = 8 * 1024
"""Bytes parsed at once; received data may contain more requests than may be queued, so it is parsed in parts."""
PIPELINED = 128
"""Maximum queued requests per connection behind the current one; reading pauses until there are fewer."""
LINGER_SECONDS = 0.5
"""How long incoming data is discarded after a rejection; an immediate close would reset clients that still send."""


def _reply(status: str, error: str, *headers: str) -> bytes:
    body = msgspec.json.encode({"error": error})
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


BUSY = _reply("503 Service Unavailable", "too many connections (serve.max_connections)", "retry-after: 1")
LONG = _reply("431 Request Header Fields Too Large", f"the head has more than {HEAD_BYTES} bytes")
BROKEN = _reply("400 Bad Request", "this is no request of HTTP/1.1")
FAULTS = {
    "version": "send HTTP/1.1 or HTTP/1.0",
    "host": "send one header 'host'",
    "coding": "the only transfer-encoding that is read is 'chunked', once, in HTTP/1.1",
    "upgrade": "there is no upgrade to another protocol; send the body in HTTP/1.1 without the header 'upgrade'",
    "chunks": "the chunks of the body are too small, or their extensions or trailers too long",
}
REPLIES = {name: _reply("400 Bad Request", error) for name, error in FAULTS.items()}


@dataclass(frozen=True)
class Bounds:
    """Limits on connections.

    Attributes:
        connections: maximum open connections.
        discarded: maximum bytes of a rejected body that are read and discarded.
    """

    connections: int
    discarded: int


class Refused(Exception):
    """A request that must not be parsed further.

    Args:
        reply: the complete HTTP response.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply


class Flow(FlowControl):
    """Uvicorn's flow control, which also pauses reading while received data waits to be parsed.

    Attributes:
        is_full: whether such data waits.
    """

    is_full = False

    def resume_reading(self) -> None:
        """Resume reading, unless received data waits to be parsed."""
        if self.read_paused and not self.is_full:
            self.read_paused = False
            self._transport.resume_reading()


class Connection(HttpToolsProtocol):
    """A connection with limits; limits and watchdog are class attributes, shared by all connections of a server.

    These methods run for every request, so rare cases live in separate methods to keep the common path fast.

    Attributes:
        is_ending: whether the server is shutting down; the next response is the last.
        is_refused: whether the connection was rejected, so that incoming data is discarded.
    """

    bounds: Bounds
    watch: "Watch"
    flow: Flow
    is_ending = False
    is_refused = False
    _is_in_head = True
    _unread = b""
    _bytes = 0
    """Bytes received since the last head or request ended; `_body_bytes` of them are body."""
    _body_bytes = 0
    _last: RequestResponseCycle | None = None
    _previous: Any = None
    _refusal = BROKEN

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, or reject it if there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.ws_protocol_class = None  # websockets are not supported, and uvicorn's would escape the limits
        # Uvicorn formats its access line for each request even if the logger is disabled.
        if not self.access_logger.isEnabledFor(logging.INFO):
            self.access_log = False
        self.watch.begin()
        if len(self.connections) > self.bounds.connections:
            transport.write(BUSY)
            transport.close()
        self.watch.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        self._unread = b""
        self.watch.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse or discard incoming data."""
        if len(data) <= PART_BYTES and not (self._unread or self.is_ending or self.is_refused):
            self._parse(data)
        elif self.is_refused:
            self._drop(len(data))
        else:
            self._unread += data
            self._read()

    def on_headers_complete(self) -> None:
        """Check the head and start the request."""
        is_upgrade = self.parser.should_upgrade()
        names = [name for name, _ in self.headers]
        if is_upgrade or names.count(b"host") != 1 or b"transfer-encoding" in names or self._bytes > HEAD_BYTES:
            self._check_head(is_upgrade=is_upgrade)
        if (version := self.parser.get_http_version()) != "1.1" and version != "1.0":
            self._fail(REPLIES["version"])
        self._previous = self.cycle
        super().on_headers_complete()
        self.headers = []  # the parser appends trailers to this list
        self._is_in_head = False
        self._bytes = self._body_bytes = 0
        if is_upgrade:
            self.cycle.keep_alive = False  # the parser stops at an upgrade

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish receiving a request; the next bytes belong to a head."""
        self._is_in_head = True
        self._bytes = self._body_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, or send the pending rejection."""
        super().on_response_complete()
        if (self.is_refused or self._unread) and not self.transport.is_closing():
            if self._unread:
                self._read()
            elif self._is_idle():
                self._finish()

    def shutdown(self) -> None:
        """Shut down gracefully: answer current requests and those sent within the keep-alive timeout, then close."""
        self.is_ending = True
        if self._is_idle() and not self._unread:
            self.loop.call_later(self.timeout_keep_alive, self._close_idle)
        elif not self._unread:
            self._mark_last()

    def send_400_response(self, msg: str) -> None:
        """Reject a request that can't be parsed."""
        self.refuse(self._refusal)

    def refuse(self, reply: bytes) -> None:
        """Reject the connection: finish current responses, send this reply and close."""
        if self.is_refused or self.transport.is_closing():
            return
        self.is_refused, self._unread, self._refusal = True, b"", reply
        broken = self.cycle
        if broken is not None and broken.more_body and not broken.response_complete:
            if not self.pipeline:
                self._abandon(broken)
                return
            self.pipeline.popleft()  # the newest request, which has not started
            self.cycle = self._previous
        if self._is_idle():
            self._finish()

    def _abandon(self, cycle: RequestResponseCycle) -> None:
        """Reject a running request whose body turned out to be malformed."""
        if cycle.response_started:
            self.transport.close()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        self._finish()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the client gets an HTTP/1.1 response instead."""

    def _read(self) -> None:
        """Parse received data until the maximum number of requests is queued."""
        while self._unread and len(self.pipeline) < PIPELINED and not self.transport.is_closing():
            part, self._unread = self._unread[:PART_BYTES], self._unread[PART_BYTES:]
            self._parse(part)
        self.flow.is_full = bool(self._unread)
        if self._unread:
            self.flow.pause_reading()
        elif self.is_ending:
            self._mark_last()

    def _parse(self, part: bytes) -> None:
        self._bytes += len(part)
        super().data_received(part)
        if self._bytes > HEAD_BYTES and not self.is_refused:
            self._check_size()

    def _check_size(self) -> None:
        """Reject an endless head and chunks that are mostly framing; close if a rejected body continues too long."""
        cycle = self.cycle
        if cycle is None or self._is_in_head:
            self.refuse(LONG)
        elif self._bytes - self._body_bytes > HEAD_BYTES + CHUNK_BYTES * self._body_bytes:
            self.refuse(REPLIES["chunks"])
        elif cycle.response_complete and self._bytes > self.bounds.discarded:
            self.transport.close()

    def _check_head(self, *, is_upgrade: bool) -> None:
        """Reject a head that is too large or that a proxy could interpret differently (RFC 9112, sections 3.2 and 6.1).

        Raises:
            Refused: the head is rejected.
        """
        if sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._fail(LONG)
        is_old = self.parser.get_http_version() == "1.0"
        told = [(name, value.strip().lower()) for name, value in self.headers]
        hosts = [value for name, value in told if name == b"host"]
        codings = [value for name, value in told if name == b"transfer-encoding"]
        if len(hosts) > 1 or not (hosts or is_old):
            self._fail(REPLIES["host"])
        if codings and (is_old or codings != [b"chunked"]):
            self._fail(REPLIES["coding"])
        if is_upgrade and (codings or dict(told).get(b"content-length", b"").strip(b"0")):
            self._fail(REPLIES["upgrade"])

    def _fail(self, reply: bytes) -> None:
        self._refusal = reply
        raise Refused(reply)

    def _is_idle(self) -> bool:
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _mark_last(self) -> None:
        """Make the newest request's response announce that the connection closes after it."""
        if self._last is not None and self._last is not self.cycle and not self._last.response_started:
            self._last.keep_alive = True  # a newer request has arrived since
        if self.cycle is not None and self.cycle.keep_alive and not self.cycle.response_complete:
            self._last = self.cycle
            self.cycle.keep_alive = False

    def _close_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _finish(self) -> None:
        """Send the rejection, and close after the client has had time to read it."""
        self.transport.write(self._refusal)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.is_full = False
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _drop(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self.bounds.discarded:
            self.transport.abort()
