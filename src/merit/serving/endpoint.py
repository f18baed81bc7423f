"""The hot route: POST /predict, answered by an ASGI handler of our own inside the Bento service.

BentoML's own way to an API method answers a body that is not JSON with a 500, and is slower. As a middleware of the
service the handler keeps BentoML's metrics, tracing and time limit around it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from merit.scoring import Package
from merit.serving.rows import BadRows, Rows

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

ROUTE = "/predict"


class TooLarge(Exception):
    """The body has more bytes than are taken."""


class Answers:
    """Answers requests from a package.

    Args:
        package: the model.
        version: its version in the registry; its digest where it has none.
        max_rows: rows that one request may have.
    """

    def __init__(self, package: Package, version: str, max_rows: int) -> None:
        self._package = package
        self._rows = Rows(package, max_rows)
        self._classes: list[Any] | None = package.output.get("classes")
        self._origin = {
            "model": package.manifest["model"],
            "version": version,
            "commit": package.manifest["commit"],
        }

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return `predictions`, one per row in their order, and where they come from.

        Of a binary task each is a probability, of a regression a number, of a multiclass task the likeliest class,
        with the `probabilities` of all `classes`.

        Raises:
            BadRows: the request can't be answered as it is.
        """
        columns = self._rows.columns(body)
        found = self._package.predict(columns)
        if self._classes is None:
            return {"predictions": found.tolist(), **self._origin}
        guesses = [self._classes[place] for place in found.argmax(axis=1)]
        probabilities = {"classes": self._classes, "probabilities": found.tolist()}
        return {"predictions": guesses, **probabilities, **self._origin}


class Endpoint:
    """The ASGI middleware that answers POST /predict and hands everything else on.

    Args:
        app: what everything else is handed to.
        answers: who answers.
        max_bytes: bytes that one body may have.
        seconds: time that one body may take to arrive.
    """

    def __init__(self, app: App, answers: Answers, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._answers = answers
        self._max_bytes = max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http" or scope["path"] != ROUTE or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(receive)
            status, content = 200, self._answers.answer(body)
        except BadRows as error:
            status, content = 400, {"error": str(error)}
        except TimeoutError:
            status, content = 408, {"error": f"the body did not arrive within {self._seconds:g} seconds"}
        except TooLarge:
            status, content = (
                413,
                {"error": f"the body is larger than {self._max_bytes} bytes (serve.max_bytes)"},
            )
        await _send(send, status, msgspec.json.encode(content))

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_bytes:
                raise TooLarge
            if not message.get("more_body"):
                return b"".join(parts)


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
