"""Puts the handler in front of BentoML's own app, so that predictions bypass BentoML's request processing.

`service_class` is an undocumented argument of `bentoml.service`; if a BentoML release lacks it, the handler becomes a
middleware of the service instead, with the same responses but slower.
"""

import inspect
from typing import Any

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.configuration.containers import BentoMLContainer

from merit.serving.app import page
from merit.serving.app.asgi import App, Message, Receive, Send
from merit.serving.app.handler import Handler, Make
from merit.serving.server.guard import guard
from merit.serving.settings import Settings


def options(make: Make, told: Settings) -> dict[str, Any]:
    """Return the arguments of `bentoml.service` that put the handler in front; empty if they are not supported."""
    if not is_offered():
        return {}

    class Hot(Service):  # type: ignore[misc]  # bentoml has no types
        """A BentoML service whose app is the handler; BentoML's own app answers all other requests."""

        def to_asgi(self, is_main: bool = True) -> App:  # BentoML's signature
            """Return the ASGI app that BentoML serves."""
            return served(make, told, super().to_asgi(is_main=is_main))

    return {"service_class": Hot}


def is_offered() -> bool:
    """Return whether `bentoml.service` accepts a custom service class."""
    parameters = inspect.signature(bentoml.service).parameters
    return "service_class" in parameters


def _metrics() -> bytes:
    """Return BentoML's own metrics."""
    client: Any = BentoMLContainer.metrics_client.get()
    enabled = BentoMLContainer.api_server_config.metrics.enabled.get()
    return bytes(client.generate_latest()) if enabled else b""


def served(make: Make, told: Settings, elsewhere: App) -> App:
    """Return the handler in front of another app; the handler starts and stops with that app's lifespan."""
    elsewhere = page.closed(elsewhere)

    async def beside(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            guard(receive, told)
            receive = _heard(handler, receive)
        await elsewhere(scope, receive, send)

    handler = make(beside, _metrics)
    return handler


def _heard(handler: Handler, receive: Receive) -> Receive:
    async def heard() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            handler.start()
        elif message["type"] == "lifespan.shutdown":
            await handler.close()
        return message

    return heard


class Middleware:
    """The handler as an ASGI middleware, for a BentoML without `service_class`."""

    def __init__(self, app: App, make: Make, told: Settings) -> None:
        self._app = served(make, told, app)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer or forward a request."""
        await self._app(scope, receive, send)
