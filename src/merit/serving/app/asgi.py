"""The types of ASGI, and an answer in JSON."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
AGAIN: Headers = [(b"retry-after", b"1")]
"""Of a refusal that may be none a second later."""


async def send_bytes(send: Send, status: int, body: bytes, kind: bytes, headers: Headers | None = None) -> None:
    """Send a whole answer."""
    told = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, content: Any, headers: Headers | None = None) -> None:
    """Send a whole answer in JSON."""
    await send_bytes(send, status, msgspec.json.encode(content), JSON, headers)
