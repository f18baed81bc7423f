"""Where the handler stands before BentoML's own app: by a class of the service, or else as its middleware."""

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest

from merit.serving import settings
from merit.serving.app.asgi import Message, Receive, Send

with warnings.catch_warnings(action="ignore"):  # what BentoML itself uses
    import _bentoml_sdk  # noqa: F401  # imported by the adapter, when it is asked
    import bentoml

    from merit.serving.app import bentoml_app


class Handler:
    """A handler that says what happens to it."""

    def __init__(self, elsewhere: Any) -> None:
        self.elsewhere, self.seen = elsewhere, []

    def start(self) -> None:
        """Say so."""
        self.seen.append("start")

    async def close(self) -> None:
        """Say so."""
        self.seen.append("close")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Say so, and hand on."""
        self.seen.append(scope["type"])
        await self.elsewhere(scope, receive, send)


async def _bentos(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        assert [(await receive())["type"], (await receive())["type"]] == ["lifespan.startup", "lifespan.shutdown"]
        return
    await send({"type": "bentos"})


def _lived(app: Any) -> list[Any]:
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def live() -> None:
        await app({"type": "lifespan"}, receive, send)
        await app({"type": "http"}, receive, send)

    asyncio.run(live())
    return sent


def test_the_service_serves_the_handler_before_its_own_app(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Handler] = []

    def make(elsewhere: Any, more_metrics: Any) -> Any:
        made.append(Handler(elsewhere))
        return made[0]

    base = bentoml_app.build_service_options(make, settings.Settings())["service_class"]
    monkeypatch.setattr(base.__mro__[1], "to_asgi", lambda self, is_main=True: _bentos)
    service = base(name="tiny", inner=type("Inner", (), {}))
    assert _lived(service.to_asgi()) == [{"type": "bentos"}]
    assert made[0].seen == ["lifespan", "start", "close", "http"]


def test_without_such_a_class_the_handler_is_a_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bentoml, "service", lambda *, name: name)
    made: list[Handler] = []

    def make(elsewhere: Any, more_metrics: Any) -> Any:
        made.append(Handler(elsewhere))
        return made[0]

    assert bentoml_app.build_service_options(make, settings.Settings()) == {}
    app = bentoml_app.HandlerMiddleware(_bentos, make, settings.Settings())
    assert _lived(app) == [{"type": "bentos"}]
    assert made[0].seen == ["lifespan", "start", "close", "http"]


def test_the_workers_of_one_server_count_together(tmp_path: Path) -> None:
    from merit.serving.observability.shared_counters import SharedCounters

    own, other = SharedCounters(3, tmp_path), SharedCounters(3, None)
    gone = tmp_path / "999999999.counts"
    other.values[0], other.values[2] = 5, 7
    gone.write_bytes(bytes(other.values))
    own.values[0], own.values[2] = 1, 1
    assert own.sum_workers(gauges=range(2, 3)) == [6, 0, 1]  # who has ended has nothing in hand
    (tmp_path / "999999998.counts").write_bytes(b"of another form")
    assert own.sum_workers(gauges=range(2, 3)) == [6, 0, 1]
    own.close()
    assert not tmp_path.exists()
