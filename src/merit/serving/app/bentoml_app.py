"""Puts the handler in front of BentoML's own app, so that predictions bypass BentoML's request processing.

`service_class` is an undocumented argument of `bentoml.service`; if a BentoML release lacks it, the handler becomes a
middleware of the service instead, with the same responses but slower.
"""

from typing import Any

from merit.serving import bentoml_adapter
from merit.serving.app import docs_page
from merit.serving.app.asgi import App, Message, Receive, Send
from merit.serving.app.handler import Handler, HandlerFactory
from merit.serving.server.connection_guard import guard_connections
from merit.serving.settings import Settings


def build_service_options(handler_factory: HandlerFactory, settings: Settings) -> dict[str, Any]:
    """Return the arguments of `bentoml.service` that put the handler in front; empty if they are not supported."""
    if not bentoml_adapter.supports_service_class():
        return {}

    class HandlerService(bentoml_adapter.import_service_class()):  # type: ignore[misc]  # bentoml has no types
        """A BentoML service whose app is the handler; BentoML's own app answers all other requests."""

        def to_asgi(self, is_main: bool = True) -> App:  # BentoML's signature
            """Return the ASGI app that BentoML serves."""
            return wrap_app(handler_factory, settings, super().to_asgi(is_main=is_main))

    return {"service_class": HandlerService}


def wrap_app(handler_factory: HandlerFactory, settings: Settings, fallback: App) -> App:
    """Return the handler in front of another app; the handler starts and stops with that app's lifespan."""
    fallback = docs_page.restrict_page(fallback)

    async def guarded_fallback(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            guard_connections(receive, settings)
            receive = _observe_lifespan(handler, receive)
        await fallback(scope, receive, send)

    handler = handler_factory(guarded_fallback, bentoml_adapter.read_metrics)
    return handler


def _observe_lifespan(handler: Handler, receive: Receive) -> Receive:
    async def receive_and_observe() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            handler.start()
        elif message["type"] == "lifespan.shutdown":
            await handler.close()
        return message

    return receive_and_observe


class HandlerMiddleware:
    """The handler as an ASGI middleware, for a BentoML without `service_class`."""

    def __init__(self, app: App, handler_factory: HandlerFactory, settings: Settings) -> None:
        self._app = wrap_app(handler_factory, settings, app)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer or forward a request."""
        await self._app(scope, receive, send)
