"""Finds the broker that conf/stream configures by its name."""

import os
from collections.abc import Callable

from merit.config import extensions
from merit.config.schema.stream import BROKER_PACKAGE, URL_SCHEMES, Stream
from merit.errors import MeritError
from merit.stream.brokers.interface import Broker

URL_VARIABLE = "MERIT_STREAM_URL"
"""Environment variable for the URL of the broker, to keep user and password out of conf/stream."""


def create_broker(settings: Stream, show_line: Callable[[str], None]) -> Broker:
    """Return the broker that conf/stream configures.

    Raises:
        MeritError: its client library is not installed, or MERIT_STREAM_URL is the URL of another broker.
    """
    url = os.environ.get(URL_VARIABLE) or settings.url
    if not url.startswith(tuple(f"{scheme}://" for scheme in URL_SCHEMES[settings.broker])):
        allowed = " or ".join(f"{scheme}://" for scheme in URL_SCHEMES[settings.broker])
        raise MeritError(
            f"{URL_VARIABLE}: is no URL of {settings.broker}, which stream.broker says; it begins with {allowed}"
        )
    try:
        return _import_class(settings.broker)(settings, url, show_line)
    except ImportError as error:
        raise MeritError(
            f"stream: {settings.broker} needs {error.name}, which is not installed; pip install 'merit-ml[stream]'"
        ) from error


def _import_class(name: str) -> type[Broker]:
    """Return the class of a broker; import only its client library, because imports are slow."""
    broker_class: type[Broker] = extensions.import_extension(BROKER_PACKAGE, name).BROKER
    return broker_class
