"""Traces by OpenTelemetry: a sample of the requests, sent to a collector by OTLP over HTTP, in its JSON form.

The SDK comes with BentoML; the exporter's own package would bring protobuf into every image for one request a second.
"""

import random
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from merit.console.json_log import Lines
from merit.errors import MeritError
from merit.serving import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TIMEOUT = 5.0
"""Seconds that a collector may take."""
QUEUE = 2048
"""Spans that may wait; those on top are lost."""
SERVER = 2
"""The kind of a span that answers somebody, in OTLP."""

Message = MutableMapping[str, Any]


def of(told: settings.Telemetry, origin: Mapping[str, str]) -> "Telemetry | None":
    """Return what traces; None where nothing is traced.

    Args:
        told: the settings.
        origin: the model, its version and its commit.

    Raises:
        MeritError: the endpoint is no address.
    """
    check(told)
    return None if told.endpoint is None else Telemetry(told.endpoint, told.sample, origin)


def check(told: settings.Telemetry) -> None:
    """Check what the settings name, before anything is served.

    Raises:
        MeritError: the endpoint is no address.
    """
    if told.endpoint is not None and not told.endpoint.startswith(("http://", "https://")):
        raise MeritError(
            f"serve.telemetry.endpoint is '{told.endpoint}'; allowed: the address of an OTLP collector over HTTP, such "
            "as http://127.0.0.1:4318"
        )


class Telemetry:
    """Traces a share of the requests, and those that their callers trace.

    Args:
        endpoint: the collector's address, to which /v1/traces is added.
        sample: the share, of 1.
        origin: the model, its version and its commit.
    """

    def __init__(self, endpoint: str, sample: float, origin: Mapping[str, str]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {f"merit.{name}": value for name, value in origin.items()}
        resource = Resource({"service.name": origin["model"], "service.version": origin["version"], **named})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint), max_queue_size=QUEUE))
        self._tracer = self._provider.get_tracer("merit.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._sample = sample

    def begin(self, scope: Message) -> Any:
        """Return the span of a request that is traced, else None.

        Whoever sends a `traceparent` says whether its trace is recorded; of the others a share is.
        """
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        context = None
        if parent is not None:
            if parent[-2:] != b"01":
                return None
            context = self._propagator.extract({"traceparent": parent.decode("latin-1")})
        elif random.random() >= self._sample:  # noqa: S311  # no secret
            return None
        from opentelemetry.trace import SpanKind

        told = {"http.request.method": scope["method"], "url.path": scope["path"]}
        name = f"{scope['method']} {scope['path']}"
        return self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=told)

    def end(self, span: Any, status: int, rows: int, request_id: str) -> None:
        """End a span that `begin` has returned."""
        from opentelemetry.trace import Status, StatusCode

        told = {"http.response.status_code": status, "merit.rows": rows, "merit.request_id": request_id}
        span.set_attributes(told)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def _exporter(endpoint: str) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    lines = Lines(most=1)

    class Exporter(SpanExporter):
        """Posts spans; a collector that is not there is told of once a minute, and its spans are lost."""

        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            """Post spans."""
            try:
                _post(f"{endpoint.rstrip('/')}/v1/traces", encoded(spans))
            except (OSError, ValueError) as error:
                told = " ".join(str(error).split())[:200]
                lines.tell("telemetry", "lost", level="warning", error=told, spans_lost=len(spans))
                return SpanExportResult.FAILURE
            return SpanExportResult.SUCCESS

    return Exporter()


def _post(address: str, body: bytes) -> None:
    import urllib.request

    request = urllib.request.Request(address, data=body, headers={"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # checked when it was read
        answer.read()


def encoded(spans: "Sequence[ReadableSpan]") -> bytes:
    """Return spans as OTLP has them in JSON.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    listed = [_span(each) for each in spans]
    scope = {"scope": {"name": "merit.serving"}, "spans": listed}
    resource = {"attributes": _attributes(spans[0].resource.attributes)} if spans else {}
    return msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _span(span: "ReadableSpan") -> dict[str, Any]:
    context: Any = span.get_span_context()
    made: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": SERVER,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": 2} if not span.status.is_unset and not span.status.is_ok else {},
    }
    return made if span.parent is None else {**made, "parentSpanId": f"{span.parent.span_id:016x}"}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
