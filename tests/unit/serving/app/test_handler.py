import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from merit.console.json_log import RateLimitedLogger
from merit.prediction_log import log as predictionlog
from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.app.feedback import FeedbackRecorder
from merit.serving.app.handler import Handler
from merit.serving.app.served_model import ServedModel
from merit.serving.auth import methods
from merit.serving.observability.metrics import RequestMetrics

GOOD = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}


class Elsewhere:
    """What the handler hands other requests to; it remembers them."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Remember."""
        self.scopes.append(scope)


class Log(predictionlog.NullLog):
    """A log that shows what it was given."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, ...]] = []

    def put(self, *entry: Any) -> None:
        """Keep it."""
        self.kept.append(entry)


class Door:
    """Lets in whoever is named."""

    def authenticate(self, scope: Any) -> str:
        """Return the name."""
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                return str(value.decode())
        raise methods.HttpError(401, "no key", [(b"www-authenticate", b"Bearer")])


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def make(workdir: Path, make_package: Callable[..., Path], elsewhere: Elsewhere, log: Log) -> Callable[..., Handler]:
    """Make a handler over the tiny package, for at most 3 rows, 1,000 bytes and 2 requests at once."""
    package = Package.load(make_package(Path("model")))

    def made(door: methods.Auth | None = None, package: Any = package, **told: Any) -> Handler:
        limits = {"max_rows": 3, "max_bytes": 1000, "max_concurrent": 2, "timeout_seconds": 0.2}
        how = settings.Settings(**{**limits, **told})
        answers = ServedModel(package, "4", how.max_rows)
        return Handler(
            answers,
            how,
            auth=door or methods.NoAuth(),
            prediction_log=log,
            metrics=RequestMetrics(answers.origin, package.output["task"], answers.classes, None),
            logger=RateLimitedLogger(),
            feedback=FeedbackRecorder(how.log, package, "w", 3),
            fallback=elsewhere,
        )

    return made


@pytest.fixture
def handler(make: Callable[..., Handler]) -> Handler:
    return make()


async def _asked(handler: Handler, *chunks: bytes, **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "POST", "path": "/predict", "headers": [], **scope}
    await handler(asked, receive, send)
    return sent


def _call(handler: Handler, *chunks: bytes, **scope: Any) -> list[dict[str, Any]]:
    return asyncio.run(_asked(handler, *chunks, **scope))


def _read(sent: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    start, body = sent
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    return start["status"], json.loads(body["body"])


def _answer(handler: Handler, *chunks: bytes, **scope: Any) -> tuple[int, dict[str, Any]]:
    return _read(_call(handler, *chunks, **scope))


def _headers(handler: Handler, *chunks: bytes, **scope: Any) -> dict[bytes, bytes]:
    return dict(_call(handler, *chunks, **scope)[0]["headers"])


def _metrics(handler: Handler) -> str:
    return str(_call(handler, b"", path="/metrics", method="GET")[1]["body"].decode())


def test_rows_are_answered_with_a_probability_each_and_where_it_comes_from(handler: Handler) -> None:
    status, content = _answer(handler, json.dumps([GOOD, {**GOOD, "size": None}]).encode())
    assert status == 200
    # 1 + 2 + 0 + 0 + 0 and 1 + 2 + 0 + 1 + 0, through a sigmoid.
    assert content.pop("predictions") == pytest.approx([0.95257413, 0.98201379])
    assert content == {"model": "tiny", "version": "4", "commit": "c" * 40}


def test_one_row_gets_the_answer_that_it_gets_among_many(handler: Handler) -> None:
    one = _answer(handler, json.dumps(GOOD).encode())[1]["predictions"]
    many = _answer(handler, json.dumps([GOOD] * 3).encode())[1]["predictions"]
    assert many == one * 3


def test_a_body_may_come_in_chunks(handler: Handler, elsewhere: Elsewhere) -> None:
    body = json.dumps(GOOD).encode()
    whole = _answer(handler, body)
    assert _answer(handler, body[:5], b"", body[5:9], body[9:], b"") == whole
    assert whole[0] == 200
    assert elsewhere.scopes == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 999, "nested too deeply"),
        (b"[]", "holds no row"),
        (b"{}", "are missing"),
        (json.dumps({**GOOD, "shpo": 1}).encode(), "did you mean 'shop'?"),
        (json.dumps([GOOD] * 4).encode(), "at most 3"),
    ],
)
def test_a_bad_request_gets_400_and_a_reason(handler: Handler, body: bytes, words: str) -> None:
    status, content = _answer(handler, body)
    assert status == 400
    assert list(content) == ["error", "problems"]
    assert words in content["error"]
    assert words in content["problems"][0]


@pytest.mark.parametrize("chunks", [(b" " * 1001,), (b" " * 600, b" " * 600, b"never read")])
def test_a_body_that_is_too_large_gets_413(handler: Handler, chunks: tuple[bytes, ...]) -> None:
    assert _answer(handler, *chunks) == (413, {"error": "the body is larger than 1000 bytes (serve.max_bytes)"})


def test_a_body_that_says_it_is_too_large_is_not_read(handler: Handler) -> None:
    assert _answer(handler, headers=[(b"content-length", b"1001")])[0] == 413


def test_a_body_of_just_the_largest_size_is_taken(handler: Handler) -> None:
    body = json.dumps(GOOD).encode()
    assert _answer(handler, body + b" " * (1000 - len(body)))[0] == 200


@pytest.mark.parametrize("scope", [{"path": "/"}, {"path": "/predict/"}, {"path": "/healthz"}, {"type": "lifespan"}])
def test_everything_else_is_handed_on_unread(handler: Handler, elsewhere: Elsewhere, scope: dict[str, str]) -> None:
    assert _call(handler, b"unread", **scope) == []
    assert elsewhere.scopes == [{"type": "http", "method": "POST", "path": "/predict", "headers": [], **scope}]


def test_a_websocket_is_closed_whatever_is_behind(handler: Handler, elsewhere: Elsewhere) -> None:
    assert _call(handler, type="websocket", path="/") == [{"type": "websocket.close"}]
    assert elsewhere.scopes == []


@pytest.mark.parametrize(("path", "method", "allowed"), [("/predict", "GET", b"POST"), ("/metrics", "POST", b"GET")])
def test_another_method_gets_405_and_the_one_to_use(handler: Handler, path: str, method: str, allowed: bytes) -> None:
    start = _call(handler, b"", path=path, method=method)[0]
    assert start["status"] == 405
    assert dict(start["headers"])[b"allow"] == allowed


def test_a_body_that_never_arrives_gets_408_and_the_next_request_its_answer(handler: Handler) -> None:
    async def both() -> tuple[Any, Any]:
        silent = await _asked(handler)
        return silent, await _asked(handler, json.dumps(GOOD).encode())

    silent, answered = asyncio.run(both())
    assert _read(silent)[0] == 408
    assert dict(silent[0]["headers"])[b"connection"] == b"close"
    assert _read(answered)[0] == 200


def test_a_client_that_leaves_is_not_answered(handler: Handler) -> None:
    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(handler({"type": "http", "method": "POST", "path": "/predict", "headers": []}, left, send))
    assert sent == []
    assert 'kind="client_left"} 1\n' in _metrics(handler)


def test_an_answer_that_nobody_reads_is_given_up(handler: Handler) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(GOOD).encode()}

    async def stuck(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ConnectionAbortedError, match="was given up while it was sent"):
        asyncio.run(handler({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, stuck))


def test_requests_past_the_bound_get_503_and_when_to_come_again(handler: Handler) -> None:
    async def crowd() -> list[Any]:
        waiting = [asyncio.create_task(_asked(handler)) for _ in range(2)]
        await asyncio.sleep(0)
        third = await _asked(handler, json.dumps(GOOD).encode())
        return [third, *await asyncio.gather(*waiting)]

    third, *others = asyncio.run(crowd())
    assert _read(third) == (503, {"error": "2 requests are in hand (serve.max_concurrent)"})
    assert dict(third[0]["headers"])[b"retry-after"] == b"1"
    assert [_read(each)[0] for each in others] == [408, 408]
    assert _answer(handler, json.dumps(GOOD).encode())[0] == 200


def test_too_many_large_bodies_at_once_get_503(make: Callable[..., Handler]) -> None:
    handler = make(max_concurrent=20)

    async def crowd() -> list[int]:
        waiting = [asyncio.create_task(_asked(handler, b" " * 900, b"")) for _ in range(3)]
        handler._body_reader._buffered_bytes = 8 * 1000 - 500  # as much as others hold
        return [_read(each)[0] for each in await asyncio.gather(*waiting)]

    assert 503 in asyncio.run(crowd())


def test_a_large_body_is_answered_in_a_thread_and_others_meanwhile(make: Callable[..., Handler]) -> None:
    handler = make(max_bytes=100_000, max_rows=1000, timeout_seconds=5)
    score = handler._model.score
    order: list[str] = []

    def slow(columns: Any) -> Any:
        rows = len(next(iter(columns.values())))
        if rows > 4:
            time.sleep(0.1)
        order.append("many" if rows > 4 else "one")
        return score(columns)

    handler._model.score = slow  # type: ignore[method-assign]

    async def both() -> list[Any]:
        large = asyncio.create_task(_asked(handler, json.dumps([GOOD] * 900).encode()))
        await asyncio.sleep(0.02)
        return [await _asked(handler, json.dumps(GOOD).encode()), await large]

    one, many = asyncio.run(both())
    assert order == ["one", "many"]
    assert len(_read(many)[1]["predictions"]) == 900
    assert _read(one)[1]["predictions"] == pytest.approx(_read(many)[1]["predictions"][:1])


def test_a_caller_whose_tables_are_being_read_waits_and_others_do_not(
    make: Callable[..., Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = make(max_concurrent=8)  # two tables of a caller at once
    order: list[bytes] = []

    def columns(body: bytes, form: str, until: float) -> dict[str, Any]:
        order.append(body)
        return {name: np.array([value], object if name == "shop" else float) for name, value in GOOD.items()}

    monkeypatch.setattr(handler._threaded_scorer._table_codec, "decode_columns", columns)
    parquet = [(b"content-type", b"application/vnd.apache.parquet")]

    async def asked() -> list[list[dict[str, Any]]]:
        calls = [(b"1", "a"), (b"2", "a"), (b"3", "a"), (b"4", "b")]
        return await asyncio.gather(
            *(_asked(handler, body, headers=parquet, client=(caller, 1)) for body, caller in calls)
        )

    found = asyncio.run(asked())
    assert [sent[0]["status"] for sent in found] == [200, 200, 429, 200]
    assert order == [b"1", b"4", b"2"]


def test_what_takes_too_long_gets_504(make: Callable[..., Handler]) -> None:
    handler = make(max_bytes=100_000, max_rows=1000)
    handler._model.score = lambda columns: time.sleep(0.5)  # type: ignore[method-assign,assignment,return-value]
    sent = _call(handler, json.dumps([GOOD] * 900).encode())
    assert _read(sent)[0] == 504
    assert b"retry-after" in dict(sent[0]["headers"])


def test_a_model_that_fails_is_a_500_without_its_reason(handler: Handler) -> None:
    def fail(columns: Any) -> Any:
        raise RuntimeError("secret")

    handler._model.score = fail  # type: ignore[method-assign]
    status, content = _answer(handler, json.dumps(GOOD).encode())
    assert status == 500
    assert "secret" not in str(content)


def test_each_answer_has_a_request_id_the_callers_or_one_of_ours(handler: Handler) -> None:
    body = json.dumps(GOOD).encode()
    assert _headers(handler, body, headers=[(b"x-request-id", b"Job-1.a_b")])[b"x-request-id"] == b"Job-1.a_b"
    made = [_headers(handler, body)[b"x-request-id"] for _ in range(2)]
    made += [_headers(handler, b"{", headers=[(b"x-request-id", bad)])[b"x-request-id"] for bad in (b"a b", b"x" * 65)]
    assert len(set(made)) == 4
    assert all(each.startswith(made[0].partition(b"-")[0]) for each in made)


def test_the_log_gets_what_was_answered_and_nothing_else(make: Callable[..., Handler], log: Log) -> None:
    handler = make(Door())
    body = json.dumps(GOOD).encode()
    assert _answer(handler, body)[0] == 401
    assert _answer(handler, b"{", headers=[(b"x-api-key", b"ann")])[0] == 400
    _call(handler, body, headers=[(b"x-api-key", b"ann"), (b"x-request-id", b"r1")])
    ((request_id, at, kept, columns, found, who),) = log.kept
    assert (request_id, kept, columns, who) == ("r1", body, None, "ann")
    assert found == pytest.approx([0.95257413])
    assert abs(at - time.time()) < 5


def test_nobody_without_a_key_learns_more_than_that_it_lives(
    make: Callable[..., Handler], elsewhere: Elsewhere
) -> None:
    handler = make(Door())
    for path in ("/predict", "/feedback", "/metrics", "/", "/docs.json", "/schema.json"):
        method = "GET" if path in {"/metrics", "/docs.json"} else "POST"
        start = _call(handler, b"", path=path, method=method)[0]
        assert start["status"] == 401, path
        assert (b"www-authenticate", b"Bearer") in start["headers"]
    for path in ("/livez", "/readyz", "/healthz"):
        _call(handler, b"", path=path, method="GET")
    assert [each["path"] for each in elsewhere.scopes] == ["/livez", "/readyz", "/healthz"]


def test_a_content_type_that_is_not_read_gets_415(handler: Handler) -> None:
    body = json.dumps(GOOD).encode()
    assert _answer(handler, body, headers=[(b"content-type", b"multipart/form-data; boundary=x")])[0] == 415
    for kind in (b"application/json; charset=utf-8", b"text/plain", b"APPLICATION/JSON"):
        assert _answer(handler, body, headers=[(b"content-type", kind)])[0] == 200


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_a_body_that_is_compressed_gets_415_with_what_is_read(handler: Handler, path: str) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    status, told = _answer(handler, body, headers=[(b"content-encoding", b"gzip")], path=path)
    assert status == 415
    assert told["error"] == "the content-encoding 'gzip' is not read here; send the body as it is, without one"


def test_a_body_that_is_said_to_be_as_it_is_is_read(handler: Handler) -> None:
    assert _answer(handler, json.dumps(GOOD).encode(), headers=[(b"content-encoding", b"Identity")])[0] == 200


def test_where_it_is_mounted_changes_nothing(handler: Handler) -> None:
    assert _answer(handler, json.dumps(GOOD).encode(), path="/api/predict", root_path="/api")[0] == 200


def test_feedback_that_nobody_keeps_is_refused(handler: Handler) -> None:
    assert _answer(handler, b"{}", path="/feedback")[0] == 404


def test_requests_errors_rows_and_predictions_are_counted(handler: Handler) -> None:
    for body in (json.dumps(GOOD).encode(), json.dumps([GOOD] * 3).encode(), b"{"):
        _call(handler, body)
    text = _metrics(handler)
    origin = 'model="tiny",version="4",commit="' + "c" * 40 + '"'
    for line in (
        f"merit_info{{{origin}}} 1",
        f'merit_requests_total{{{origin},route="/predict",status="200"}} 2',
        f'merit_requests_total{{{origin},route="/predict",status="400"}} 1',
        f'merit_errors_total{{{origin},kind="bad_rows"}} 1',
        f"merit_rows_total{{{origin}}} 4",
        f'merit_prediction_bucket{{{origin},le="0.95"}} 0',
        f'merit_prediction_bucket{{{origin},le="1"}} 4',
        f"merit_request_seconds_count{{{origin}}} 2",
        f"merit_in_hand{{{origin}}} 1",
    ):
        assert line + "\n" in text, line


def test_several_classes_are_answered_with_the_likeliest_and_all_probabilities() -> None:
    class Three:
        inputs = ({"name": "x", "type": "number", "nullable": False},)
        output: ClassVar = {"name": "prediction", "task": "multiclass", "classes": ["a", "b", "c"]}
        manifest: ClassVar = {"model": "tiny"}
        commit = "c"
        graph = SimpleNamespace(inputs={"x": "number"})

        def predict(self, columns: Any) -> Any:
            """Return two rows."""
            return np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], dtype=np.float32)

    content = ServedModel(Three(), "4", 3).predict(b'[{"x": 1}, {"x": 2}]')  # type: ignore[arg-type]
    assert content["predictions"] == ["c", "a"]
    assert content["classes"] == ["a", "b", "c"]
    assert content["probabilities"][1] == [0.5, 0.25, 0.25]


def test_the_log_says_whom_it_refused_where_and_why(
    make: Callable[..., Handler], capfd: pytest.CaptureFixture[str]
) -> None:
    class Shut:
        def authenticate(self, scope: Any) -> str:
            raise methods.HttpError(429, "come again", reason="quota", caller="shop")

    asked = {"client": ("192.0.2.7", 41000), "headers": [(b"x-api-key", b"merit_secret")]}
    assert _call(make(Shut()), b"{}", path="/feedback", **asked)[0]["status"] == 429
    _call(make(), b"", method="GET")
    said = capfd.readouterr().err
    first, second = [json.loads(line) for line in said.splitlines()]
    assert {name: first[name] for name in ("event", "status", "route", "why", "address", "caller")} == {
        "event": "refused", "status": 429, "route": "/feedback", "why": "quota", "address": "192.0.2.7",
        "caller": "shop",
    }  # fmt: skip
    assert (second["status"], second["why"], second["address"]) == (405, "send POST to /predict", "")
    assert "merit_secret" not in said
