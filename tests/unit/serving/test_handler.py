import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from merit.scoring import Package
from merit.serving.endpoint import Answers, Endpoint

GOOD = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}


class Elsewhere:
    """What the endpoint hands other requests to; it remembers them."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Remember."""
        self.scopes.append(scope)


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def endpoint(workdir: Path, make_package: Callable[..., Path], elsewhere: Elsewhere) -> Endpoint:
    """An endpoint over the tiny package, for at most 3 rows and 1,000 bytes."""
    package = Package.load(make_package(Path("model")))
    return Endpoint(elsewhere, Answers(package, "4", 3), 1000, seconds=0.2)


def _call(endpoint: Endpoint, *chunks: bytes, **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(endpoint({"type": "http", "method": "POST", "path": "/predict", **scope}, receive, send))
    return sent


def _answer(endpoint: Endpoint, *chunks: bytes) -> tuple[int, dict[str, Any]]:
    start, body = _call(endpoint, *chunks)
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    return start["status"], json.loads(body["body"])


def test_rows_are_answered_with_a_probability_each_and_where_it_comes_from(endpoint: Endpoint) -> None:
    status, content = _answer(endpoint, json.dumps([GOOD, {**GOOD, "size": None}]).encode())
    assert status == 200
    # 1 + 2 + 0 + 0 + 0 and 1 + 2 + 0 + 1 + 0, through a sigmoid.
    assert content.pop("predictions") == pytest.approx([0.95257413, 0.98201379])
    assert content == {"model": "tiny", "version": "4", "commit": "c" * 40}


def test_one_row_gets_the_answer_that_it_gets_among_many(endpoint: Endpoint) -> None:
    one = _answer(endpoint, json.dumps(GOOD).encode())[1]["predictions"]
    many = _answer(endpoint, json.dumps([GOOD] * 3).encode())[1]["predictions"]
    assert many == one * 3


def test_a_body_may_come_in_chunks(endpoint: Endpoint, elsewhere: Elsewhere) -> None:
    body = json.dumps(GOOD).encode()
    whole = _answer(endpoint, body)
    assert _answer(endpoint, body[:5], b"", body[5:9], body[9:], b"") == whole
    assert whole[0] == 200
    assert elsewhere.scopes == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "holds no row"),
        (b"{}", "is missing"),
        (json.dumps({**GOOD, "shpo": 1}).encode(), "did you mean 'shop'?"),
        (json.dumps([GOOD] * 4).encode(), "at most 3"),
    ],
)
def test_a_bad_request_gets_400_and_a_reason(endpoint: Endpoint, body: bytes, words: str) -> None:
    status, content = _answer(endpoint, body)
    assert status == 400
    assert list(content) == ["error"]
    assert words in content["error"]


@pytest.mark.parametrize("chunks", [(b" " * 1001,), (b" " * 600, b" " * 600, b"never read")])
def test_a_body_that_is_too_large_gets_413(endpoint: Endpoint, chunks: tuple[bytes, ...]) -> None:
    assert _answer(endpoint, *chunks) == (413, {"error": "the body is larger than 1000 bytes (serve.max_bytes)"})


def test_a_body_of_just_the_largest_size_is_taken(endpoint: Endpoint) -> None:
    body = json.dumps(GOOD).encode()
    assert _answer(endpoint, body + b" " * (1000 - len(body)))[0] == 200


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/"},
        {"path": "/predict/"},
        {"path": "/healthz"},
        {"method": "GET"},
        {"method": "PUT"},
        {"type": "websocket"},
        {"type": "lifespan"},
    ],
)
def test_everything_else_is_handed_on_unread(endpoint: Endpoint, elsewhere: Elsewhere, scope: dict[str, str]) -> None:
    assert _call(endpoint, b"unread", **scope) == []
    assert elsewhere.scopes == [{"type": "http", "method": "POST", "path": "/predict", **scope}]


def test_a_body_that_never_arrives_gets_408(endpoint: Endpoint) -> None:
    async def silence() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(endpoint({"type": "http", "method": "POST", "path": "/predict"}, silence, send))
    assert sent[0]["status"] == 408


def test_several_classes_are_answered_with_the_likeliest_and_all_probabilities() -> None:
    class Three:
        inputs = ({"name": "x", "type": "number", "nullable": False},)
        output: ClassVar = {"name": "prediction", "task": "multiclass", "classes": ["a", "b", "c"]}
        manifest: ClassVar = {"model": "tiny", "commit": "c"}
        graph = SimpleNamespace(inputs={"x": "number"})

        def predict(self, columns: Any) -> Any:
            """Return two rows."""
            return np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], dtype=np.float32)

    content = Answers(Three(), "4", 3).answer(b'[{"x": 1}, {"x": 2}]')  # type: ignore[arg-type]
    assert content["predictions"] == ["c", "a"]
    assert content["classes"] == ["a", "b", "c"]
    assert content["probabilities"][1] == [0.5, 0.25, 0.25]
