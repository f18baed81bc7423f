"""Traces a sample of the requests with OpenTelemetry, exported to a collector as OTLP JSON over HTTP.

BentoML already depends on the SDK; OpenTelemetry's exporter package would add protobuf to every image, for one export
request a second.
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
"""Time limit of an export request, in seconds."""
QUEUE = 2048
"""Maximum queued spans; further ones are dropped."""
SERVER = 2
"""OTLP's number for the span kind SERVER."""

Message = MutableMapping[str, Any]


def of(told: settings.Telemetry, origin: Mapping[str, str]) -> "Telemetry | None":
    """Create the tracer from its settings; None if tracing is disabled.

    Args:
        told: the section `serve.telemetry`.
        origin: model, version and commit.

    Raises:
        MeritError: the endpoint is not an HTTP address.
    """
    check(told)
    return None if told.endpoint is None else Telemetry(told.endpoint, told.sample, origin)


def check(told: settings.Telemetry) -> None:
    """Check the settings, before the server starts.

    Raises:
        MeritError: the endpoint is not an HTTP address.
    """
    if told.endpoint is not None and not told.endpoint.startswith(("http://", "https://")):
        raise MeritError(
            f"serve.telemetry.endpoint is '{told.endpoint}'; allowed: the address of an OTLP collector over HTTP, such "
            "as http://127.0.0.1:4318"
        )


class Telemetry:
    """Traces a random sample of the requests, and all requests whose caller traces them.

    Args:
        endpoint: base address of the collector; /v1/traces is appended.
        sample: fraction of requests to trace, 0 to 1.
        origin: model, version and commit.
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
        """Start and return the span of a request; None if it is not traced.

        A `traceparent` header decides whether its request is traced; requests without one are sampled.
        """
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        context = None
        if parent is not None:
            if parent[-2:] != b"01":
                return None
            context = self._propagator.extract({"traceparent": parent.decode("latin-1")})
        elif random.random() >= self._sample:  # noqa: S311  # sampling needs no cryptographic randomness
            return None
        from opentelemetry.trace import SpanKind

        told = {"http.request.method": scope["method"], "url.path": scope["path"]}
        name = f"{scope['method']} {scope['path']}"
        return self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=told)

    def end(self, span: Any, status: int, rows: int, request_id: str) -> None:
        """End the span of a request."""
        from opentelemetry.trace import Status, StatusCode

        told = {"http.response.status_code": status, "merit.rows": rows, "merit.request_id": request_id}
        span.set_attributes(told)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Export the queued spans and stop."""
        self._provider.shutdown()


def _exporter(endpoint: str) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    lines = Lines(most=1)

    class Exporter(SpanExporter):
        """Exports spans; if the collector fails, drops them and logs at most one line a minute."""

        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            """Export spans."""
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
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # http or https, as checked
        answer.read()


def encoded(spans: "Sequence[ReadableSpan]") -> bytes:
    """Encode spans as OTLP JSON.

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
