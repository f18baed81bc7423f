"""Provides the endpoint as an ASGI app to mount in FastAPI, Starlette or any other ASGI framework."""

import os
from pathlib import Path
from typing import Any

import msgspec

from merit.errors import MeritError
from merit.scoring.package import Package
from merit.serving.app.asgi import App, Message, Receive, Send, send_json
from merit.serving.app.handler import Handler
from merit.serving.app.handler_factory import build_handler_factory
from merit.serving.app.served_model import ServedModel
from merit.serving.settings import Settings
from merit.signing import verification

HEALTH_ROUTES = ("/livez", "/readyz")


def app(folder: str | os.PathLike[str], *, version: str | None = None, **options: Any) -> "MountedApp":
    """Return an ASGI app for /predict, /feedback, /metrics, /livez, /readyz and /openapi.json.

    Await its `close()` when the enclosing app shuts down; it flushes the prediction log.

    Args:
        folder: the package.
        version: the package's version in the registry, contained in responses; None uses its digest.
        **options: settings as in conf/serve, such as `max_rows=100` or `auth={"method": "keys", "keys": "keys.yaml"}`;
            use `auth={"method": "proxy"}` if the enclosing app authenticates the callers.

    Raises:
        MeritError: the package does not match its manifest, or a setting is invalid.

    Example:
        from fastapi import FastAPI
        from merit.serving import mount

        model = mount.app("model", version="v3")
        api = FastAPI()
        api.mount("/flights", model)
    """
    path = Path(folder)
    try:
        settings = msgspec.convert(options, Settings)
    except msgspec.ValidationError as error:
        raise MeritError(f"mount: {error}; the settings are those of conf/serve") from error
    verification.check_package(path)
    package = Package.load(path)
    model = ServedModel(package, str(version or package.digest), settings.max_rows)
    return MountedApp(build_handler_factory(model, settings)(_create_fallback(model.origin["model"])))


class MountedApp:
    """The handler as a mountable ASGI app; the enclosing app need not forward its lifespan events.

    Args:
        handler: answers the requests.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request; run directly by a server, also handle its lifespan."""
        if scope["type"] == "http":
            await self._handler(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            self._handler.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.close()
            await send({"type": "lifespan.shutdown.complete"})

    async def close(self) -> None:
        """Flush all queues, such as the prediction log's."""
        await self._handler.close()


def _create_fallback(model_name: str) -> App:
    """Return the app for the health routes, which answers all others with 404."""

    async def respond(scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in HEALTH_ROUTES:
            await send_json(send, 404, {"error": f"nothing is at {scope['path'][:200]}"})
        elif scope["method"] != "GET":
            await send_json(send, 405, {"error": f"send GET to {path}"}, [(b"allow", b"GET")])
        else:
            await send_json(send, 200, {"model": model_name})

    return respond
