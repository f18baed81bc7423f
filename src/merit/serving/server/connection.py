"""Provides an HTTP/1.1 connection for uvicorn that limits header size, pipelined requests and framing bytes.

Requests that a proxy in front could split differently (request smuggling) are rejected, as RFC 9112 demands. A rejected
client can still read the responses to its earlier requests and the error before the connection is closed.
"""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from merit.serving.server.connection_watchdog import ConnectionWatchdog
from merit.serving.server.uvicorn_adapter import FlowControl, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Maximum bytes of a request's head, and base allowance for the bytes that frame the chunks of a body."""
MAX_FRAMING_PER_BODY_BYTE = 8
"""Additional framing bytes allowed per body byte, because some clients send small chunks."""
PARSE_BYTES = 8 * 1024
"""Bytes parsed at once; received data may contain more requests than may be queued, so it is parsed in parts."""
MAX_QUEUED_REQUESTS = 128
"""Maximum queued requests per connection behind the current one; reading pauses until there are fewer."""
LINGER_SECONDS = 0.5
"""How long incoming data is discarded after a rejection; an immediate close would reset clients that still send."""


def _render_reply(status: str, message: str, *headers: str) -> bytes:
    body = msgspec.json.encode({"error": message})
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


BUSY_REPLY = _render_reply("503 Service Unavailable", "too many connections (serve.max_connections)", "retry-after: 1")
HEAD_TOO_LARGE_REPLY = _render_reply(
    "431 Request Header Fields Too Large", f"the head has more than {MAX_HEAD_BYTES} bytes"
)
BAD_REQUEST_REPLY = _render_reply("400 Bad Request", "this is no request of HTTP/1.1")
FAULT_MESSAGES = {
    "version": "send HTTP/1.1 or HTTP/1.0",
    "host": "send one header 'host'",
    "coding": "the only transfer-encoding that is read is 'chunked', once, in HTTP/1.1",
    "upgrade": "there is no upgrade to another protocol; send the body in HTTP/1.1 without the header 'upgrade'",
    "chunks": "the chunks of the body are too small, or their extensions or trailers too long",
}
FAULT_REPLIES = {name: _render_reply("400 Bad Request", error) for name, error in FAULT_MESSAGES.items()}


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on connections.

    Attributes:
        max_connections: maximum open connections.
        max_discarded_bytes: maximum bytes of a rejected body that are read and discarded.
    """

    max_connections: int
    max_discarded_bytes: int


class RejectedRequest(Exception):
    """A request that must not be parsed further.

    Args:
        reply: the complete HTTP response.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply


class BacklogFlowControl(FlowControl):
    """Uvicorn's flow control, which also pauses reading while received data waits to be parsed.

    Attributes:
        has_backlog: whether such data waits.
    """

    has_backlog = False

    def resume_reading(self) -> None:
        """Resume reading, unless received data waits to be parsed."""
        if self.read_paused and not self.has_backlog:
            self.read_paused = False
            self._transport.resume_reading()


class Connection(HttpToolsProtocol):
    """A connection with limits; limits and watchdog are class attributes, shared by all connections of a server.

    These methods run for every request, so rare cases live in separate methods to keep the common path fast.

    Attributes:
        is_shutting_down: whether the server is shutting down; the next response is the last.
        is_rejected: whether the connection was rejected, so that incoming data is discarded.
    """

    limits: ConnectionLimits
    watchdog: ConnectionWatchdog
    flow: BacklogFlowControl
    is_shutting_down = False
    is_rejected = False
    _is_in_head = True
    _backlog = b""
    _received_bytes = 0
    """Bytes received since the last head or request ended; `_body_bytes` of them are body."""
    _body_bytes = 0
    _last_cycle: RequestResponseCycle | None = None
    _previous_cycle: Any = None
    _rejection_reply = BAD_REQUEST_REPLY

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, or reject it if there are too many."""
        super().connection_made(transport)
        self.flow = BacklogFlowControl(transport)
        self.ws_protocol_class = None  # websockets are not supported, and uvicorn's would escape the limits
        # Uvicorn formats its access line for each request even if the logger is disabled.
        if not self.access_logger.isEnabledFor(logging.INFO):
            self.access_log = False
        self.watchdog.start()
        if len(self.connections) > self.limits.max_connections:
            transport.write(BUSY_REPLY)
            transport.close()
        self.watchdog.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        self._backlog = b""
        self.watchdog.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse or discard incoming data."""
        if len(data) <= PARSE_BYTES and not (self._backlog or self.is_shutting_down or self.is_rejected):
            self._parse_chunk(data)
        elif self.is_rejected:
            self._discard_bytes(len(data))
        else:
            self._backlog += data
            self._parse_backlog()

    def on_headers_complete(self) -> None:
        """Check the head and start the request."""
        is_upgrade = self.parser.should_upgrade()
        names = [name for name, _ in self.headers]
        if (
            is_upgrade
            or names.count(b"host") != 1
            or b"transfer-encoding" in names
            or self._received_bytes > MAX_HEAD_BYTES
        ):
            self._check_head(is_upgrade=is_upgrade)
        if (version := self.parser.get_http_version()) != "1.1" and version != "1.0":
            self._raise_rejection(FAULT_REPLIES["version"])
        self._previous_cycle = self.cycle
        super().on_headers_complete()
        self.headers = []  # the parser appends trailers to this list
        self._is_in_head = False
        self._received_bytes = self._body_bytes = 0
        if is_upgrade:
            self.cycle.keep_alive = False  # the parser stops at an upgrade

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish receiving a request; the next bytes belong to a head."""
        self._is_in_head = True
        self._received_bytes = self._body_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, or send the pending rejection."""
        super().on_response_complete()
        if (self.is_rejected or self._backlog) and not self.transport.is_closing():
            if self._backlog:
                self._parse_backlog()
            elif self._is_idle():
                self._send_rejection()

    def shutdown(self) -> None:
        """Shut down gracefully: answer current requests and those sent within the keep-alive timeout, then close."""
        self.is_shutting_down = True
        if self._is_idle() and not self._backlog:
            self.loop.call_later(self.timeout_keep_alive, self._close_idle)
        elif not self._backlog:
            self._mark_last_response()

    def send_400_response(self, msg: str) -> None:
        """Reject a request that can't be parsed."""
        self.reject(self._rejection_reply)

    def reject(self, reply: bytes) -> None:
        """Reject the connection: finish current responses, send this reply and close."""
        if self.is_rejected or self.transport.is_closing():
            return
        self.is_rejected, self._backlog, self._rejection_reply = True, b"", reply
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if not self.pipeline:
                self._abandon_cycle(cycle)
                return
            self.pipeline.popleft()  # the newest request, which has not started
            self.cycle = self._previous_cycle
        if self._is_idle():
            self._send_rejection()

    def _abandon_cycle(self, cycle: RequestResponseCycle) -> None:
        """Reject a running request whose body turned out to be malformed."""
        if cycle.response_started:
            self.transport.close()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        self._send_rejection()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the client gets an HTTP/1.1 response instead."""

    def _parse_backlog(self) -> None:
        """Parse received data until the maximum number of requests is queued."""
        while self._backlog and len(self.pipeline) < MAX_QUEUED_REQUESTS and not self.transport.is_closing():
            chunk, self._backlog = self._backlog[:PARSE_BYTES], self._backlog[PARSE_BYTES:]
            self._parse_chunk(chunk)
        self.flow.has_backlog = bool(self._backlog)
        if self._backlog:
            self.flow.pause_reading()
        elif self.is_shutting_down:
            self._mark_last_response()

    def _parse_chunk(self, chunk: bytes) -> None:
        self._received_bytes += len(chunk)
        super().data_received(chunk)
        if self._received_bytes > MAX_HEAD_BYTES and not self.is_rejected:
            self._check_size()

    def _check_size(self) -> None:
        """Reject an endless head and chunks that are mostly framing; close if a rejected body continues too long."""
        cycle = self.cycle
        if cycle is None or self._is_in_head:
            self.reject(HEAD_TOO_LARGE_REPLY)
        elif self._received_bytes - self._body_bytes > MAX_HEAD_BYTES + MAX_FRAMING_PER_BODY_BYTE * self._body_bytes:
            self.reject(FAULT_REPLIES["chunks"])
        elif cycle.response_complete and self._received_bytes > self.limits.max_discarded_bytes:
            self.transport.close()

    def _check_head(self, *, is_upgrade: bool) -> None:
        """Reject a head that is too large or that a proxy could interpret differently (RFC 9112, sections 3.2 and 6.1).

        Raises:
            RejectedRequest: the head is rejected.
        """
        if sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._raise_rejection(HEAD_TOO_LARGE_REPLY)
        is_http_1_0 = self.parser.get_http_version() == "1.0"
        normalized_headers = [(name, value.strip().lower()) for name, value in self.headers]
        hosts = [value for name, value in normalized_headers if name == b"host"]
        codings = [value for name, value in normalized_headers if name == b"transfer-encoding"]
        if len(hosts) > 1 or not (hosts or is_http_1_0):
            self._raise_rejection(FAULT_REPLIES["host"])
        if codings and (is_http_1_0 or codings != [b"chunked"]):
            self._raise_rejection(FAULT_REPLIES["coding"])
        if is_upgrade and (codings or dict(normalized_headers).get(b"content-length", b"").strip(b"0")):
            self._raise_rejection(FAULT_REPLIES["upgrade"])

    def _raise_rejection(self, reply: bytes) -> None:
        self._rejection_reply = reply
        raise RejectedRequest(reply)

    def _is_idle(self) -> bool:
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _mark_last_response(self) -> None:
        """Make the newest request's response announce that the connection closes after it."""
        if (
            self._last_cycle is not None
            and self._last_cycle is not self.cycle
            and not self._last_cycle.response_started
        ):
            self._last_cycle.keep_alive = True  # a newer request has arrived since
        if self.cycle is not None and self.cycle.keep_alive and not self.cycle.response_complete:
            self._last_cycle = self.cycle
            self.cycle.keep_alive = False

    def _close_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _send_rejection(self) -> None:
        """Send the rejection, and close after the client has had time to read it."""
        self.transport.write(self._rejection_reply)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.has_backlog = False
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _discard_bytes(self, size: int) -> None:
        self._received_bytes += size
        if self._received_bytes > self.limits.max_discarded_bytes:
            self.transport.abort()
