"""Reads request bodies within size limits and maps their content types to formats."""

from typing import Any

from merit.serving.app.asgi import JSON, Message, Receive
from merit.serving.auth.errors import HttpError
from merit.serving.codec.tables import TABLE_FORMATS

MAX_BUFFERED_BODIES = 8
"""Limit on the partially received bodies of all requests together, in multiples of serve.max_bytes."""

JSON_CONTENT_TYPES = frozenset(
    {None, b"", JSON, b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream"}
)
"""Content types read as JSON: JSON's own, and the defaults of curl and similar tools."""


IDENTITY_CODINGS = (b"", b"identity")
"""Content codings that leave the body unchanged."""
MAX_DISPLAYED_CHARS = 40
"""Maximum characters of an unsupported coding in the error message."""


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete."""


class BodyReader:
    """Reads request bodies of limited size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffered_bytes = 0

    async def read_body(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        """Return the complete body.

        Raises:
            HttpError: 413, the body is too large (checked before reading if there is a content-length); 415, it is
                compressed; 503, too many large bodies at once.
            ClientDisconnected: the connection was closed before the end of the body.
        """
        if (coding := headers.get(b"content-encoding")) is not None and coding.strip().lower() not in IDENTITY_CODINGS:
            displayed = coding.decode("latin-1")[:MAX_DISPLAYED_CHARS]
            raise HttpError(
                415, f"the content-encoding {displayed!r} is not read here; send the body as it is, without one"
            )
        content_length = headers.get(b"content-length")
        if content_length is not None and content_length.isdigit() and int(content_length) > self._max_bytes:
            raise self._create_too_large_error()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._max_bytes:
                raise self._create_too_large_error()
            return body
        return await self._read_rest(receive, message)

    async def _read_rest(self, receive: Receive, message: Message) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise ClientDisconnected
                chunk: Any = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                self._buffered_bytes += len(chunk)
                if size > self._max_bytes:
                    raise self._create_too_large_error()
                if self._buffered_bytes > MAX_BUFFERED_BODIES * self._max_bytes:
                    raise HttpError(503, "too many large bodies at once; come again later", [(b"retry-after", b"1")])
                if not message.get("more_body"):
                    return b"".join(chunks)
                message = await receive()
        finally:
            self._buffered_bytes -= size

    def _create_too_large_error(self) -> HttpError:
        return HttpError(413, f"the body is larger than {self._max_bytes} bytes (serve.max_bytes)")


def parse_table_format(content_type: bytes | None) -> str | None:
    """Return the table format of a content type; None for JSON, including the default types of common HTTP clients.

    Raises:
        HttpError: 415, the content type is not supported.
    """
    if content_type in JSON_CONTENT_TYPES:
        return None
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    if media_type in TABLE_FORMATS:
        return TABLE_FORMATS[media_type]
    if media_type in JSON_CONTENT_TYPES or media_type.endswith(b"+json"):
        return None
    allowed = ", ".join(each.decode() for each in (JSON, *TABLE_FORMATS))
    raise HttpError(415, f"this content type is not read here; send one of {allowed}")
