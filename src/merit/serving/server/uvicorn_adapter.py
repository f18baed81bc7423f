"""The only module that uses undocumented parts of uvicorn: its HTTP protocol, and an app's config."""

from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from merit.serving.app.asgi import Receive

__all__ = ["ERROR_LOGGER", "FlowControl", "HttpToolsProtocol", "RequestResponseCycle", "drop_forwarding", "find_config"]

ERROR_LOGGER = "uvicorn.error"


def find_config(receive: Receive) -> Any | None:
    """Return the config of the uvicorn that runs this ASGI lifespan; None if it is another server or parser.

    `receive` is a method of uvicorn's lifespan. A config's `http_protocol_class` is used for each new connection, and
    its `loaded_app` answers requests.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    protocol = getattr(config, "http_protocol_class", None)
    return config if protocol is HttpToolsProtocol else None


def drop_forwarding(config: Any) -> None:
    """Remove uvicorn's X-Forwarded-For middleware from the app of a config."""
    app = config.loaded_app
    if type(app).__name__ == "ProxyHeadersMiddleware":
        config.loaded_app = app.app
