"""Traces a sample of the requests with OpenTelemetry, exported to a collector as OTLP JSON over HTTP.

BentoML already depends on the SDK; OpenTelemetry's exporter package would add protobuf to every image, for one export
request a second.
"""

import random
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from merit.console.json_log import RateLimitedLogger
from merit.errors import MeritError
from merit.serving import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

EXPORT_TIMEOUT_S = 5.0
"""Time limit of an export request, in seconds."""
MAX_QUEUED_SPANS = 2048
"""Maximum queued spans; further ones are dropped."""
SERVER_SPAN_KIND = 2
"""OTLP's number for the span kind SERVER."""

Message = MutableMapping[str, Any]


def from_settings(telemetry_settings: settings.TelemetrySettings, origin: Mapping[str, str]) -> "RequestTracer | None":
    """Create the tracer from its settings; None if tracing is disabled.

    Args:
        telemetry_settings: the section `serve.telemetry`.
        origin: model, version and commit.

    Raises:
        MeritError: the endpoint is not an HTTP address.
    """
    check_settings(telemetry_settings)
    return (
        None
        if telemetry_settings.endpoint is None
        else RequestTracer(telemetry_settings.endpoint, telemetry_settings.sample, origin)
    )


def check_settings(telemetry_settings: settings.TelemetrySettings) -> None:
    """Check the settings, before the server starts.

    Raises:
        MeritError: the endpoint is not an HTTP address.
    """
    if telemetry_settings.endpoint is not None and not telemetry_settings.endpoint.startswith(("http://", "https://")):
        raise MeritError(
            f"serve.telemetry.endpoint is '{telemetry_settings.endpoint}'; allowed: the address of an OTLP collector "
            "over HTTP, such "
            "as http://127.0.0.1:4318"
        )


class RequestTracer:
    """Traces a random sample of the requests, and all requests whose caller traces them.

    Args:
        endpoint: base address of the collector; /v1/traces is appended.
        sample_rate: fraction of requests to trace, 0 to 1.
        origin: model, version and commit.
    """

    def __init__(self, endpoint: str, sample_rate: float, origin: Mapping[str, str]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        origin_attributes = {f"merit.{name}": value for name, value in origin.items()}
        resource = Resource(
            {"service.name": origin["model"], "service.version": origin["version"], **origin_attributes}
        )
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(_create_exporter(endpoint), max_queue_size=MAX_QUEUED_SPANS)
        )
        self._tracer = self._provider.get_tracer("merit.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._sample_rate = sample_rate

    def start_span(self, scope: Message) -> Any:
        """Start and return the span of a request; None if it is not traced.

        A `traceparent` header decides whether its request is traced; requests without one are sampled.
        """
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        context = None
        if parent is not None:
            if parent[-2:] != b"01":
                return None
            context = self._propagator.extract({"traceparent": parent.decode("latin-1")})
        elif random.random() >= self._sample_rate:  # noqa: S311  # sampling needs no cryptographic randomness
            return None
        from opentelemetry.trace import SpanKind

        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        name = f"{scope['method']} {scope['path']}"
        return self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=attributes)

    def end_span(self, span: Any, status: int, rows: int, request_id: str) -> None:
        """End the span of a request."""
        from opentelemetry.trace import Status, StatusCode

        attributes = {"http.response.status_code": status, "merit.rows": rows, "merit.request_id": request_id}
        span.set_attributes(attributes)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Export the queued spans and stop."""
        self._provider.shutdown()


def _create_exporter(endpoint: str) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    logger = RateLimitedLogger(max_per_minute=1)

    class Exporter(SpanExporter):
        """Exports spans; if the collector fails, drops them and logs at most one line a minute."""

        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            """Export spans."""
            try:
                _post_spans(f"{endpoint.rstrip('/')}/v1/traces", encode_spans(spans))
            except (OSError, ValueError) as error:
                message = " ".join(str(error).split())[:200]
                logger.log("telemetry", "lost", level="warning", error=message, spans_lost=len(spans))
                return SpanExportResult.FAILURE
            return SpanExportResult.SUCCESS

    return Exporter()


def _post_spans(address: str, body: bytes) -> None:
    import urllib.request

    request = urllib.request.Request(address, data=body, headers={"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=EXPORT_TIMEOUT_S) as response:  # noqa: S310  # http or https, as checked
        response.read()


def encode_spans(spans: "Sequence[ReadableSpan]") -> bytes:
    """Encode spans as OTLP JSON.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    encoded_spans = [_encode_span(each) for each in spans]
    scope = {"scope": {"name": "merit.serving"}, "spans": encoded_spans}
    resource = {"attributes": _encode_attributes(spans[0].resource.attributes)} if spans else {}
    return msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _encode_span(span: "ReadableSpan") -> dict[str, Any]:
    context: Any = span.get_span_context()
    fields: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": SERVER_SPAN_KIND,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _encode_attributes(span.attributes or {}),
        "status": {"code": 2} if not span.status.is_unset and not span.status.is_ok else {},
    }
    return fields if span.parent is None else {**fields, "parentSpanId": f"{span.parent.span_id:016x}"}


def _encode_attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _encode_value(value)} for name, value in values.items()]


def _encode_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
