"""The same handler inside another ASGI app: FastAPI, Starlette or any that can mount one.

from merit.serving import mount
model = mount.app("model", version="v3")
api.mount("/flights", model)
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from merit.errors import MeritError
from merit.scoring.package import Package
from merit.serving.app.answers import Answers
from merit.serving.app.asgi import App, Message, Receive, Send, send_json
from merit.serving.app.assembly import assembled
from merit.serving.app.handler import Handler
from merit.serving.settings import Settings
from merit.signing import verification

ALIVE = ("/livez", "/readyz")


def app(folder: str | os.PathLike[str], *, version: str | None = None, **told: Any) -> "Mounted":
    """Return an ASGI app that answers /predict, /feedback, /metrics, /livez, /readyz and /openapi.json.

    Await its `close()` when the app around it ends: it writes what the prediction log still holds.

    Args:
        folder: the package.
        version: its version in the registry, which answers name; its digest where it has none.
        **told: settings as in conf/serve, such as `max_rows=100` or `auth={"method": "keys", "keys": "keys.yaml"}`;
            `auth={"method": "proxy"}` where the app around it asks who it is.

    Raises:
        MeritError: the package is not what its manifest says, or a setting is none.
    """
    place = Path(folder)
    try:
        settings = msgspec.convert(told, Settings)
    except msgspec.ValidationError as error:
        raise MeritError(f"mount: {error}; the settings are those of conf/serve") from error
    verification.check(place)
    package = Package.load(place)
    answers = Answers(package, str(version or package.digest), settings.max_rows)
    return Mounted(assembled(answers, settings)(_beside(answers.origin["model"])))


class Mounted:
    """The handler as an app of its own; an app around it need not tell it of its life.

    Args:
        handler: what answers.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer; served by itself, start and end with the server."""
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
        """Write what waits to be written."""
        await self._handler.close()


def _beside(model: str) -> App:
    """Return what answers beside the handler."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in ALIVE:
            await send_json(send, 404, {"error": f"nothing is at {scope['path'][:200]}"})
        elif scope["method"] != "GET":
            await send_json(send, 405, {"error": f"send GET to {path}"}, [(b"allow", b"GET")])
        else:
            await send_json(send, 200, {"model": model})

    return answer
