"""Provides the ASGI app for /predict, /feedback, /metrics and /openapi.json; it forwards all other requests."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any

from merit.console.json_log import Lines
from merit.prediction_log.log import Log, Off
from merit.scoring.package import Columns
from merit.serving.app.answers import Answers
from merit.serving.app.asgi import AGAIN, JSON, App, Headers, Message, Receive, Send, send_bytes, send_json
from merit.serving.app.bodies import Bodies, form_of
from merit.serving.app.failures import BODY, GONE, SENT, WORK, GivenUp, told_of
from merit.serving.app.feedback import Feedback
from merit.serving.app.in_flight import Hands
from merit.serving.app.large import Large
from merit.serving.app.micro_batcher import Together
from merit.serving.app.openapi import document
from merit.serving.auth.methods import OPEN, Auth, Refusal
from merit.serving.codec.tables import ARROW
from merit.serving.observability.metrics import CONTENT_TYPE, Metrics
from merit.serving.observability.tracing import Telemetry
from merit.serving.settings import Settings

PREDICT, FEEDBACK, METRICS, DOCUMENT = "/predict", "/feedback", "/metrics", "/openapi.json"
SHOWN = "/docs.json"
"""Route from which BentoML's documentation page loads the OpenAPI document."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}").fullmatch
SMALL = 32 * 1024
"""Maximum bytes of a body scored on the event loop; larger ones are scored in a thread, to keep the loop responsive."""
NOTHING = Off()


class Asked:
    """The state of a request in flight.

    Attributes:
        scope: the ASGI scope.
        headers: the request headers by name.
        request_id: the client's x-request-id, or a generated one.
        began: start time, by `time.perf_counter`.
        stage: BODY, WORK or SENT.
        rows: number of rows scored.
        who: name of the caller, "" if there is none.
        span: the OpenTelemetry span; None if the request is not traced.
    """

    __slots__ = ("began", "headers", "request_id", "rows", "scope", "span", "stage", "who")

    def __init__(self, scope: Message, headers: dict[bytes, bytes], request_id: bytes, began: float) -> None:
        self.scope, self.headers, self.request_id, self.began = scope, headers, request_id, began
        self.stage, self.rows, self.who = BODY, 0, ""
        self.span: Any = None


Work = Callable[[Asked, Receive, Send], Awaitable[None]]


class Handler:
    """Serves one package over ASGI.

    Args:
        answers: the served model.
        told: the section `serve`.
        auth: authenticates requests.
        log: records predictions.
        metrics: counts requests.
        lines: writes log lines.
        feedback: accepts truths.
        telemetry: traces requests; None disables tracing.
        elsewhere: ASGI app for all other requests; None answers them with 404.
        more_metrics: returns further metrics for a scrape, in Prometheus's text format.
    """

    def __init__(
        self,
        answers: Answers,
        told: Settings,
        *,
        auth: Auth,
        log: Log,
        metrics: Metrics,
        lines: Lines,
        feedback: Feedback,
        telemetry: Telemetry | None = None,
        elsewhere: App | None = None,
        more_metrics: Callable[[], bytes] = bytes,
    ) -> None:
        self._answers, self._log, self._feedback, self._telemetry = answers, log, feedback, telemetry
        self._metrics, self._lines, self._elsewhere = metrics, lines, elsewhere or _nowhere
        self._admit, self._access = auth.admit, told.access_log
        self._bodies = Bodies(told.max_bytes)
        self._hands = Hands(told.max_concurrent, told.timeout_seconds, self._beat)
        self._large = Large(answers, told)
        self._together = Together(answers)
        self._more_metrics = more_metrics
        self._prefix, self._next = os.urandom(6).hex().encode(), count(1).__next__
        self._routes: dict[str, tuple[str, Work]] = {
            PREDICT: ("POST", self._predict),
            FEEDBACK: ("POST", self._learn),
            METRICS: ("GET", self._scrape),
            DOCUMENT: ("GET", self._describe),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of an own route, forward any other."""
        if scope["type"] == "websocket":  # not supported, and forwarding one would bypass authentication
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._elsewhere(scope, receive, send)
            return
        path = scope["path"]
        route = self._routes.get(path)
        if route is None and (root := scope.get("root_path")) and path.startswith(root):  # mounted in another app
            path = path[len(root) :]
            route = self._routes.get(path)
        if path == SHOWN:
            path, route = DOCUMENT, self._routes[DOCUMENT]
        if route is None or scope["method"] == "OPTIONS":
            await self._other(path, scope, receive, send)
        else:
            await self._answer(path, route, scope, receive, send)

    def start(self) -> None:
        """Start the background components, so that the first request finds them running."""
        self._log.start()
        self._lines.tell("started", commit=self._answers.origin["commit"])

    async def close(self) -> None:
        """Finish in-flight tracking and flush all queues; call it at shutdown."""
        await self._hands.close()
        for part in (self._log, self._feedback, self._telemetry, self._large):
            if part is not None:
                await asyncio.to_thread(part.close)
        self._metrics.close()
        self._lines.tell("stopped")

    async def _answer(self, path: str, route: tuple[str, Work], scope: Message, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        told = headers.get(b"x-request-id")
        if told is None or not REQUEST_ID(told):
            told = b"%b-%x" % (self._prefix, self._next())
        asked = Asked(scope, headers, told, began)
        if self._telemetry is not None:
            asked.span = self._telemetry.begin(scope)
        task = self._hands.task()
        held = self._hands.held
        try:
            if len(held) >= self._hands.most or scope["method"] != route[0]:
                raise self._unfit(path, route[0], scope)  # noqa: TRY301  # answered below like any error
            held[task] = began
            asked.who = self._admit(scope)
            await route[1](asked, receive, send)
        except BaseException as error:  # noqa: BLE001  # answered, or raised again
            await self._failed(error, path, asked, send)
        finally:
            held.pop(task, None)
            self._hands.overdue.discard(task)

    def _unfit(self, path: str, method: str, scope: Message) -> Refusal:
        if scope["method"] != method:
            return Refusal(405, f"send {method} to {path}", [(b"allow", method.encode())])
        return Refusal(503, f"{self._hands.most} requests are in hand (serve.max_concurrent)", AGAIN)

    async def _predict(self, asked: Asked, receive: Receive, send: Send) -> None:
        form = form_of(asked.headers.get(b"content-type"))
        answer = ARROW if ARROW in asked.headers.get(b"accept", b"") else JSON
        body = await self._bodies.read(receive, asked.headers)
        asked.stage = WORK
        answers = self._answers
        columns: Columns | None = None
        if len(body) <= SMALL and form is None and answer is JSON:
            found = await self._together.score(body)
            content = answers.encoded(found)
        elif form is None and answer is JSON:
            found, content = await self._large.rows(body)
        else:
            caller = asked.who or (asked.scope.get("client") or ("",))[0]
            found, content, columns = await self._large.table(body, form, answer, caller, asked.began)
        asked.stage = SENT
        asked.rows = len(found)
        headers = [
            (b"content-type", answer),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", asked.request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        kept = body if columns is None else None
        self._log.put(asked.request_id.decode(), time.time(), kept, columns, found, asked.who)
        took = time.perf_counter() - asked.began
        self._metrics.answered(took, found)
        if self._access or asked.span is not None:
            self._told_of(PREDICT, 200, asked)

    async def _learn(self, asked: Asked, receive: Receive, send: Send) -> None:
        body = await self._bodies.read(receive, asked.headers)
        asked.stage = WORK
        content = await self._large.run(self._feedback.answer, body, asked.who)
        await self._done(FEEDBACK, 202, asked, partial(send_json, send, 202, content))

    async def _scrape(self, asked: Asked, receive: Receive, send: Send) -> None:  # the signature of all routes
        asked.stage = WORK
        self._beat()
        text = self._metrics.text() + self._more_metrics()
        await self._done(METRICS, 200, asked, partial(send_bytes, send, 200, text, CONTENT_TYPE))

    async def _describe(self, asked: Asked, receive: Receive, send: Send) -> None:  # the signature of all routes
        asked.stage = WORK
        keeps = self._feedback.link is not None
        content = document(self._answers, asked.scope.get("root_path", ""), keeps_truth=keeps)
        await self._done(DOCUMENT, 200, asked, partial(send_json, send, 200, content))

    def _beat(self) -> None:
        """Update the gauges; a scrape may be answered by another worker, which reads them from shared memory."""
        self._metrics.tell(len(self._hands.held), self._log, self._feedback.link or NOTHING)

    async def _done(self, path: str, status: int, asked: Asked, answer: Callable[[Headers], Awaitable[None]]) -> None:
        asked.stage = SENT
        await answer([(b"x-request-id", asked.request_id)])
        self._noted(path, status, asked)

    def _noted(self, path: str, status: int, asked: Asked) -> None:
        """Count and log a request that was not answered with predictions."""
        self._metrics.counted(path, status)
        if self._access or asked.span is not None:
            self._told_of(path, status, asked)

    def _told_of(self, path: str, status: int, asked: Asked) -> None:
        """Write the access log line of a request and end its span, if enabled."""
        request_id = asked.request_id.decode()
        if self._access:
            took = time.perf_counter() - asked.began
            self._lines.answered(request_id, path, status, seconds=took, rows=asked.rows, who=asked.who)
        if self._telemetry is not None and asked.span is not None:
            self._telemetry.end(asked.span, status, asked.rows, request_id)

    async def _failed(self, error: BaseException, path: str, asked: Asked, send: Send) -> None:
        """Count, log and answer a failed request."""
        status, content, headers = told_of(error, asked.stage, self._hands, asked.request_id)
        self._noted(path, status, asked)
        request_id = asked.request_id.decode()
        if status >= 500 and not isinstance(error, Refusal):
            self._lines.tell(
                "failed", type(error).__name__, level="error", status=status, route=path, request_id=request_id
            )
        elif status not in (400, 499):
            why, who = (error.why, error.who) if isinstance(error, Refusal) else ("", "")
            told: dict[str, Any] = {"status": status, "route": path, "why": why or content["error"]}
            told |= {"address": (asked.scope.get("client") or ("",))[0], "caller": asked.who or who}
            self._lines.tell("refused", f"{status} {why}", level="warning", **told, request_id=request_id)
        if asked.stage == SENT:  # too late for an error response: the server aborts the connection
            raise GivenUp(f"request {request_id} was given up while it was sent") from error
        if status != GONE:
            await send_json(send, status, content, [*headers, (b"x-request-id", asked.request_id)])

    async def _other(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        """Forward a request, after authentication if its route needs it."""
        if path not in OPEN:
            try:
                self._admit(scope)
            except Refusal as error:
                await send_json(send, error.status, {"error": error.error}, error.headers)
                return
        await self._elsewhere(scope, receive, send)


Make = Callable[..., Handler]
"""Factory of a handler; called with the app for all other requests and a function for further metrics."""


async def _nowhere(scope: Message, receive: Receive, send: Send) -> None:  # the signature of an ASGI app
    if scope["type"] == "http":
        await send_json(send, 404, {"error": f"nothing is at {scope['path']}"})
