"""Reads request bodies within size limits and maps their content types to formats."""

from typing import Any

from merit.serving.app.asgi import JSON, Message, Receive
from merit.serving.auth.methods import Refusal
from merit.serving.codec.tables import FORMS

IN_HAND = 8
"""Limit on the partially received bodies of all requests together, in multiples of serve.max_bytes."""

JSONS = frozenset({None, b"", JSON, b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream"})
"""Content types read as JSON: JSON's own, and the defaults of curl and similar tools."""


PLAIN = (b"", b"identity")
"""Content codings that leave the body unchanged."""
SHOWN = 40
"""Maximum characters of an unsupported coding in the error message."""


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Bodies:
    """Reads request bodies of limited size."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_hand = 0

    async def read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        """Return the complete body.

        Raises:
            Refusal: 413, the body is too large (checked before reading if there is a content-length); 415, it is
                compressed; 503, too many large bodies at once.
            ClientLeft: the connection was closed before the end of the body.
        """
        if (coding := headers.get(b"content-encoding")) is not None and coding.strip().lower() not in PLAIN:
            shown = coding.decode("latin-1")[:SHOWN]
            raise Refusal(415, f"the content-encoding {shown!r} is not read here; send the body as it is, without one")
        told = headers.get(b"content-length")
        if told is not None and told.isdigit() and int(told) > self._most:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._most:
                raise self._too_large()
            return body
        return await self._rest(receive, message)

    async def _rest(self, receive: Receive, message: Message) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise ClientLeft
                part: Any = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._in_hand += len(part)
                if size > self._most:
                    raise self._too_large()
                if self._in_hand > IN_HAND * self._most:
                    raise Refusal(503, "too many large bodies at once; come again later", [(b"retry-after", b"1")])
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await receive()
        finally:
            self._in_hand -= size

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self._most} bytes (serve.max_bytes)")


def form_of(kind: bytes | None) -> str | None:
    """Return the table format of a content type; None for JSON, including the default types of common HTTP clients.

    Raises:
        Refusal: 415, the content type is not supported.
    """
    if kind in JSONS:
        return None
    plain = (kind or b"").partition(b";")[0].strip().lower()
    if plain in FORMS:
        return FORMS[plain]
    if plain in JSONS or plain.endswith(b"+json"):
        return None
    allowed = ", ".join(each.decode() for each in (JSON, *FORMS))
    raise Refusal(415, f"this content type is not read here; send one of {allowed}")
