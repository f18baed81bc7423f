"""The only module that uses private parts of BentoML; importing it does not import BentoML.

`service_class` is an undocumented argument of `bentoml.service`; docs/decisions/0013 says what it saves.
"""

import inspect
from typing import Any

WORKER_MODULE = "_bentoml_impl.worker.service"
"""BentoML's program for one worker, which serves the socket inherited as `--fd`."""
WORKER_PATH = (*WORKER_MODULE.split(".")[:-1], "service.py")
"""Last path components of that program."""


def supports_service_class() -> bool:
    """Return whether `bentoml.service` accepts a custom service class."""
    import bentoml

    return "service_class" in inspect.signature(bentoml.service).parameters


def import_service_class() -> Any:
    """Return the class of a BentoML service, whose `to_asgi(is_main)` returns the app that BentoML serves."""
    from _bentoml_sdk import Service

    return Service


def read_metrics() -> bytes:
    """Return BentoML's own metrics in Prometheus's text format; empty if they are disabled."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    client: Any = BentoMLContainer.metrics_client.get()
    enabled = BentoMLContainer.api_server_config.metrics.enabled.get()
    return bytes(client.generate_latest()) if enabled else b""
