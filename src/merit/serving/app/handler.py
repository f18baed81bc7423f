"""Provides the ASGI app for /predict, /feedback, /metrics and /openapi.json; it forwards all other requests."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any

from merit.console.json_log import RateLimitedLogger
from merit.prediction_log.log import Log, NullLog
from merit.scoring.package import Columns
from merit.serving.app.asgi import JSON, RETRY_AFTER, App, Headers, Message, Receive, Send, send_bytes, send_json
from merit.serving.app.error_responses import (
    CLIENT_CLOSED_REQUEST,
    PROCESSING,
    READING_BODY,
    SENDING,
    ResponseAborted,
    build_error_response,
)
from merit.serving.app.feedback import FeedbackRecorder
from merit.serving.app.in_flight import InFlightRequests
from merit.serving.app.micro_batcher import MicroBatcher
from merit.serving.app.openapi import build_document
from merit.serving.app.request_bodies import BodyReader, parse_table_format
from merit.serving.app.served_model import ServedModel
from merit.serving.app.threaded_scorer import ThreadedScorer
from merit.serving.auth.errors import HttpError
from merit.serving.auth.methods import PUBLIC_ROUTES, Auth
from merit.serving.codec.tables import ARROW_STREAM
from merit.serving.observability.metrics import CONTENT_TYPE, RequestMetrics
from merit.serving.observability.tracing import RequestTracer
from merit.serving.settings import Settings

PREDICT_ROUTE, FEEDBACK_ROUTE, METRICS_ROUTE, OPENAPI_ROUTE = "/predict", "/feedback", "/metrics", "/openapi.json"
BENTOML_OPENAPI_ROUTE = "/docs.json"
"""Route from which BentoML's documentation page loads the OpenAPI document."""
match_request_id = re.compile(rb"[A-Za-z0-9_.-]{1,64}").fullmatch
MAX_INLINE_BYTES = 32 * 1024
"""Maximum bytes of a body scored on the event loop; larger ones are scored in a thread, to keep the loop responsive."""
DISABLED_LOG = NullLog()


class RequestContext:
    """The state of a request in flight.

    Attributes:
        scope: the ASGI scope.
        headers: the request headers by name.
        request_id: the client's x-request-id, or a generated one.
        started_at: start time, by `time.perf_counter`.
        stage: READING_BODY, PROCESSING or SENDING.
        rows: number of rows scored.
        caller: name of the caller, "" if there is none.
        span: the OpenTelemetry span; None if the request is not traced.
    """

    __slots__ = ("caller", "headers", "request_id", "rows", "scope", "span", "stage", "started_at")

    def __init__(self, scope: Message, headers: dict[bytes, bytes], request_id: bytes, started_at: float) -> None:
        self.scope, self.headers, self.request_id, self.started_at = scope, headers, request_id, started_at
        self.stage, self.rows, self.caller = READING_BODY, 0, ""
        self.span: Any = None


RouteHandler = Callable[[RequestContext, Receive, Send], Awaitable[None]]


class Handler:
    """Serves one package over ASGI.

    Args:
        model: the served model.
        settings: the section `serve`.
        auth: authenticates requests.
        prediction_log: records predictions.
        metrics: counts requests.
        logger: writes log lines.
        feedback: accepts truths.
        tracer: traces requests; None disables tracing.
        fallback: ASGI app for all other requests; None answers them with 404.
        read_extra_metrics: returns further metrics for a scrape, in Prometheus's text format.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: Settings,
        *,
        auth: Auth,
        prediction_log: Log,
        metrics: RequestMetrics,
        logger: RateLimitedLogger,
        feedback: FeedbackRecorder,
        tracer: RequestTracer | None = None,
        fallback: App | None = None,
        read_extra_metrics: Callable[[], bytes] = bytes,
    ) -> None:
        self._model, self._prediction_log, self._feedback, self._tracer = model, prediction_log, feedback, tracer
        self._metrics, self._logger, self._fallback = metrics, logger, fallback or _send_not_found
        self._authenticate, self._has_access_log = auth.authenticate, settings.access_log
        self._body_reader = BodyReader(settings.max_bytes)
        self._in_flight = InFlightRequests(settings.max_concurrent, settings.timeout_seconds, self._update_gauges)
        self._threaded_scorer = ThreadedScorer(model, settings)
        self._micro_batcher = MicroBatcher(model)
        self._read_extra_metrics = read_extra_metrics
        self._id_prefix, self._next_id = os.urandom(6).hex().encode(), count(1).__next__
        self._routes: dict[str, tuple[str, RouteHandler]] = {
            PREDICT_ROUTE: ("POST", self._handle_predict),
            FEEDBACK_ROUTE: ("POST", self._handle_feedback),
            METRICS_ROUTE: ("GET", self._handle_metrics),
            OPENAPI_ROUTE: ("GET", self._handle_openapi),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of an own route, forward any other."""
        if scope["type"] == "websocket":  # not supported, and forwarding one would bypass authentication
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        path = scope["path"]
        route = self._routes.get(path)
        if route is None and (root := scope.get("root_path")) and path.startswith(root):  # mounted in another app
            path = path[len(root) :]
            route = self._routes.get(path)
        if path == BENTOML_OPENAPI_ROUTE:
            path, route = OPENAPI_ROUTE, self._routes[OPENAPI_ROUTE]
        if route is None or scope["method"] == "OPTIONS":
            await self._forward(path, scope, receive, send)
        else:
            await self._handle(path, route, scope, receive, send)

    def start(self) -> None:
        """Start the background components, so that the first request finds them running."""
        self._prediction_log.start()
        self._logger.log("started", commit=self._model.origin["commit"])

    async def close(self) -> None:
        """Finish in-flight tracking and flush all queues; call it at shutdown."""
        await self._in_flight.close()
        for component in (self._prediction_log, self._feedback, self._tracer, self._threaded_scorer):
            if component is not None:
                await asyncio.to_thread(component.close)
        self._metrics.close()
        self._logger.log("stopped")

    async def _handle(
        self, path: str, route: tuple[str, RouteHandler], scope: Message, receive: Receive, send: Send
    ) -> None:
        started_at = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id")
        if request_id is None or not match_request_id(request_id):
            request_id = b"%b-%x" % (self._id_prefix, self._next_id())
        context = RequestContext(scope, headers, request_id, started_at)
        if self._tracer is not None:
            context.span = self._tracer.start_span(scope)
        task = self._in_flight.get_task()
        active = self._in_flight.active
        try:
            if len(active) >= self._in_flight.max_requests or scope["method"] != route[0]:
                raise self._create_rejection(path, route[0], scope)  # noqa: TRY301  # answered below like any error
            active[task] = started_at
            context.caller = self._authenticate(scope)
            await route[1](context, receive, send)
        except BaseException as error:  # noqa: BLE001  # answered, or raised again
            await self._handle_error(error, path, context, send)
        finally:
            active.pop(task, None)
            self._in_flight.overdue.discard(task)

    def _create_rejection(self, path: str, method: str, scope: Message) -> HttpError:
        if scope["method"] != method:
            return HttpError(405, f"send {method} to {path}", [(b"allow", method.encode())])
        return HttpError(
            503, f"{self._in_flight.max_requests} requests are in hand (serve.max_concurrent)", RETRY_AFTER
        )

    async def _handle_predict(self, context: RequestContext, receive: Receive, send: Send) -> None:
        table_format = parse_table_format(context.headers.get(b"content-type"))
        response_type = ARROW_STREAM if ARROW_STREAM in context.headers.get(b"accept", b"") else JSON
        body = await self._body_reader.read_body(receive, context.headers)
        context.stage = PROCESSING
        model = self._model
        columns: Columns | None = None
        if len(body) <= MAX_INLINE_BYTES and table_format is None and response_type is JSON:
            predictions = await self._micro_batcher.score(body)
            content = model.encode_response(predictions)
        elif table_format is None and response_type is JSON:
            predictions, content = await self._threaded_scorer.score_json(body)
        else:
            caller = context.caller or (context.scope.get("client") or ("",))[0]
            predictions, content, columns = await self._threaded_scorer.score_table(
                body, table_format, response_type, caller, context.started_at
            )
        context.stage = SENDING
        context.rows = len(predictions)
        headers = [
            (b"content-type", response_type),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", context.request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        logged_body = body if columns is None else None
        self._prediction_log.put(
            context.request_id.decode(), time.time(), logged_body, columns, predictions, context.caller
        )
        elapsed = time.perf_counter() - context.started_at
        self._metrics.count_predictions(elapsed, predictions)
        if self._has_access_log or context.span is not None:
            self._log_request(PREDICT_ROUTE, 200, context)

    async def _handle_feedback(self, context: RequestContext, receive: Receive, send: Send) -> None:
        body = await self._body_reader.read_body(receive, context.headers)
        context.stage = PROCESSING
        content = await self._threaded_scorer.run_in_thread(self._feedback.accept_truths, body, context.caller)
        await self._respond(FEEDBACK_ROUTE, 202, context, partial(send_json, send, 202, content))

    async def _handle_metrics(
        self, context: RequestContext, receive: Receive, send: Send
    ) -> None:  # the signature of all routes
        context.stage = PROCESSING
        self._update_gauges()
        text = self._metrics.render() + self._read_extra_metrics()
        await self._respond(METRICS_ROUTE, 200, context, partial(send_bytes, send, 200, text, CONTENT_TYPE))

    async def _handle_openapi(
        self, context: RequestContext, receive: Receive, send: Send
    ) -> None:  # the signature of all routes
        context.stage = PROCESSING
        accepts_feedback = self._feedback.log_client is not None
        content = build_document(self._model, context.scope.get("root_path", ""), accepts_feedback=accepts_feedback)
        await self._respond(OPENAPI_ROUTE, 200, context, partial(send_json, send, 200, content))

    def _update_gauges(self) -> None:
        """Update the gauges; a scrape may be answered by another worker, which reads them from shared memory."""
        self._metrics.update_gauges(
            len(self._in_flight.active), self._prediction_log, self._feedback.log_client or DISABLED_LOG
        )

    async def _respond(
        self, path: str, status: int, context: RequestContext, send_response: Callable[[Headers], Awaitable[None]]
    ) -> None:
        context.stage = SENDING
        await send_response([(b"x-request-id", context.request_id)])
        self._record_request(path, status, context)

    def _record_request(self, path: str, status: int, context: RequestContext) -> None:
        """Count and log a request that was not answered with predictions."""
        self._metrics.count_request(path, status)
        if self._has_access_log or context.span is not None:
            self._log_request(path, status, context)

    def _log_request(self, path: str, status: int, context: RequestContext) -> None:
        """Write the access log line of a request and end its span, if enabled."""
        request_id = context.request_id.decode()
        if self._has_access_log:
            elapsed = time.perf_counter() - context.started_at
            self._logger.log_request(
                request_id, path, status, seconds=elapsed, rows=context.rows, caller=context.caller
            )
        if self._tracer is not None and context.span is not None:
            self._tracer.end_span(context.span, status, context.rows, request_id)

    async def _handle_error(self, error: BaseException, path: str, context: RequestContext, send: Send) -> None:
        """Count, log and answer a failed request."""
        status, content, headers = build_error_response(error, context.stage, self._in_flight, context.request_id)
        self._record_request(path, status, context)
        request_id = context.request_id.decode()
        if status >= 500 and not isinstance(error, HttpError):
            self._logger.log(
                "failed", type(error).__name__, level="error", status=status, route=path, request_id=request_id
            )
        elif status not in (400, 499):
            reason, caller = (error.reason, error.caller) if isinstance(error, HttpError) else ("", "")
            fields: dict[str, Any] = {"status": status, "route": path, "why": reason or content["error"]}
            fields |= {"address": (context.scope.get("client") or ("",))[0], "caller": context.caller or caller}
            self._logger.log("refused", f"{status} {reason}", level="warning", **fields, request_id=request_id)
        if context.stage == SENDING:  # too late for an error response: the server aborts the connection
            raise ResponseAborted(f"request {request_id} was given up while it was sent") from error
        if status != CLIENT_CLOSED_REQUEST:
            await send_json(send, status, content, [*headers, (b"x-request-id", context.request_id)])

    async def _forward(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        """Forward a request, after authentication if its route needs it."""
        if path not in PUBLIC_ROUTES:
            try:
                self._authenticate(scope)
            except HttpError as error:
                await send_json(send, error.status, {"error": error.message}, error.headers)
                return
        await self._fallback(scope, receive, send)


HandlerFactory = Callable[..., Handler]
"""Factory of a handler; called with the app for all other requests and a function for further metrics."""


async def _send_not_found(scope: Message, receive: Receive, send: Send) -> None:  # the signature of an ASGI app
    if scope["type"] == "http":
        await send_json(send, 404, {"error": f"nothing is at {scope['path']}"})
