import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from merit.errors import MeritError
from merit.serving import settings
from merit.serving.observability import tracing

ORIGIN = {"model": "tiny", "version": "v3", "commit": "c"}
SCOPE = {"method": "POST", "path": "/predict", "headers": []}


class Collector(HTTPServer):
    """What takes traces."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, Any]] = []
        super().__init__(("127.0.0.1", 0), Taker)

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Taker(BaseHTTPRequestHandler):
    """Takes one post of them."""

    server: Collector

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.taken.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _traces(endpoint: str, sample: float = 1.0) -> tracing.RequestTracer:
    made = tracing.from_settings(settings.TelemetrySettings(endpoint, sample), ORIGIN)
    assert made is not None
    return made


def test_without_an_endpoint_nothing_traces() -> None:
    assert tracing.from_settings(settings.TelemetrySettings(), ORIGIN) is None


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(MeritError, match=r"telemetry\.endpoint is 'collector:4318'; allowed: the address"):
        tracing.from_settings(settings.TelemetrySettings("collector:4318"), ORIGIN)


def test_a_request_is_told_to_the_collector(collector: Collector) -> None:
    traces = _traces(collector.address)
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    span = traces.start_span({**SCOPE, "headers": [(b"traceparent", parent)]})
    traces.end_span(span, 503, 7, "abc")
    traces.close()
    ((path, kind, body),) = collector.taken
    assert (path, kind) == ("/v1/traces", "application/json")
    (resource,) = body["resourceSpans"]
    named = {each["key"]: each["value"]["stringValue"] for each in resource["resource"]["attributes"]}
    assert named["service.name"] == "tiny"
    assert (named["merit.version"], named["merit.commit"]) == ("v3", "c")
    (found,) = resource["scopeSpans"][0]["spans"]
    assert (found["traceId"], found["parentSpanId"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (found["name"], found["kind"], found["status"]) == ("POST /predict", 2, {"code": 2})
    assert int(found["endTimeUnixNano"]) >= int(found["startTimeUnixNano"]) > 0
    told = {each["key"]: each["value"] for each in found["attributes"]}
    assert told["http.response.status_code"] == {"intValue": "503"}
    assert told["merit.rows"] == {"intValue": "7"}
    assert told["merit.request_id"] == {"stringValue": "abc"}


def test_a_share_is_traced_and_callers_say_of_their_own(collector: Collector) -> None:
    none, every = _traces(collector.address, 0.0), _traces(collector.address, 1.0)
    unsampled = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    sampled = unsampled[:-2] + b"01"
    assert none.start_span(SCOPE) is None
    assert every.start_span({**SCOPE, "headers": [(b"traceparent", unsampled)]}) is None
    for traces, headers in ((every, []), (none, [(b"traceparent", sampled)])):
        assert traces.start_span({**SCOPE, "headers": headers}) is not None
    for traces in (none, every):
        traces.close()


def test_a_collector_that_is_down_is_told_once_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    traces = _traces("http://127.0.0.1:1")
    for _ in range(3):
        traces.end_span(traces.start_span(SCOPE), 200, 1, "abc")
        traces._provider.force_flush()
    traces.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("telemetry", "warning")]
