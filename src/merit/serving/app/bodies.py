"""A request's body, read whole within the limits."""

from typing import Any

from merit.serving.app.asgi import JSON, Message, Receive
from merit.serving.auth.methods import Refusal
from merit.serving.codec.tables import FORMS

IN_HAND = 8
"""Times serve.max_bytes that the bodies of all requests in hand may have together."""

JSONS = frozenset({None, b"", JSON, b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream"})
"""Content types of JSON: its own, and what curl and other tools say of a body where nobody tells them."""


PLAIN = (b"", b"identity")
"""Content codings that change nothing of a body."""
SHOWN = 40
"""Characters of another that are shown."""


class ClientLeft(Exception):
    """Whoever asked has gone; nobody waits for an answer."""


class Bodies:
    """Reads bodies, none larger than `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_hand = 0

    async def read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        """Return the whole body.

        Raises:
            Refusal: 413, it is too large: before it is read where its length is told; 415, it is compressed; 503, too
                many large ones.
            ClientLeft: the connection was closed before its end.
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
    """Return the form of a table that a content type names; None of JSON, which is what tools that ask nobody send as.

    Raises:
        Refusal: 415, it is something else.
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
