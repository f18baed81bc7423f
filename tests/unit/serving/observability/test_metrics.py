from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from merit.serving.observability.metrics import MAX_COUNTED_SINGLY, RequestMetrics

KINDS = {
    400: "bad_rows", 401: "no_key", 403: "forbidden", 404: "not_kept", 405: "method", 408: "slow_body",
    413: "too_large", 415: "media_type", 429: "quota", 499: "client_left", 500: "internal", 503: "overloaded",
    504: "timeout",
}  # fmt: skip
DECADES = ["1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1", "1", "10", "100", "1000", "10000", "100000", "1e+06"]
BOUNDS = {
    "merit_request_seconds": [
        "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1",
        "2.5", "5", "10", "+Inf",
    ],
    "binary": [*(f"{step / 20:g}" for step in range(1, 21)), "+Inf"],
    "regression": [*(f"-{each}" for each in DECADES[:2:-1]), "0", *DECADES[3:], "+Inf"],
}  # fmt: skip
ORIGIN = {"model": 'a "b"', "version": "v\\1", "commit": "c"}


def _samples(metrics: RequestMetrics) -> dict[tuple[str, str], float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            assert {name: sample.labels[name] for name in ORIGIN} == ORIGIN
            rest = ",".join(f"{name}={value}" for name, value in sample.labels.items() if name not in ORIGIN)
            found[sample.name, rest] = sample.value
    return found


def _bounds(found: dict[tuple[str, str], float], name: str) -> list[str]:
    return [labels.removeprefix("le=") for each, labels in found if each == f"{name}_bucket"]


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_dashboard_finds_the_documented_buckets(task: str) -> None:
    found = _samples(RequestMetrics(ORIGIN, task, None, None))
    assert found["merit_info", ""] == 1
    assert _bounds(found, "merit_request_seconds") == BOUNDS["merit_request_seconds"]
    assert _bounds(found, "merit_prediction") == BOUNDS[task]


def test_each_request_with_predictions_adds_its_seconds_and_rows_once() -> None:
    metrics = RequestMetrics(ORIGIN, "binary", None, None)
    metrics.count_predictions(0.25, np.zeros(3, dtype=np.float32))
    metrics.count_predictions(0.5, np.zeros(2, dtype=np.float32))
    metrics.count_request("/metrics", 200)
    found = _samples(metrics)
    assert found["merit_requests_total", "route=/predict,status=200"] == 2
    assert found["merit_requests_total", "route=/metrics,status=200"] == 1
    assert (found["merit_request_seconds_sum", ""], found["merit_request_seconds_count", ""]) == (0.75, 2)
    assert (found["merit_rows_total", ""], found["merit_prediction_count", ""]) == (5, 5)
    # a bound belongs to its bucket
    assert [found["merit_request_seconds_bucket", f"le={bound}"] for bound in ("0.1", "0.25", "0.5", "1")] == [
        0, 1, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "least"), [("binary", 0.0), ("regression", -10.0)])
def test_many_predictions_at_once_are_counted_as_one_by_one(task: str, least: float) -> None:
    values = np.linspace(least, 1.0, 2 * MAX_COUNTED_SINGLY, dtype=np.float32)
    one_by_one, at_once = (RequestMetrics(ORIGIN, task, None, None) for _ in range(2))
    for value in values:
        one_by_one.count_predictions(0.1, np.array([value]))
    at_once.count_predictions(0.1, values)
    single, many = (
        {key: n for key, n in _samples(each).items() if "prediction" in key[0]} for each in (one_by_one, at_once)
    )
    assert many == pytest.approx(single)
    assert many["merit_prediction_bucket", f"le={least:g}"] == 1 if least else True


@pytest.mark.parametrize("rows", [1, MAX_COUNTED_SINGLY + 1])
@pytest.mark.parametrize(
    ("task", "value", "below"), [("binary", 0.32, "0.35"), ("regression", -20.0, "-10"), ("regression", -10.0, "-10")]
)
def test_a_prediction_is_counted_in_its_bucket(rows: int, task: str, value: float, below: str) -> None:
    metrics = RequestMetrics(ORIGIN, task, None, None)
    metrics.count_predictions(0.0007, np.full(rows, value, dtype=np.float32))
    found = _samples(metrics)
    buckets = [count for (name, _), count in found.items() if name == "merit_prediction_bucket"]
    assert found["merit_prediction_bucket", f"le={below}"] == rows
    assert sorted(set(buckets)) == [0, rows]
    assert found["merit_prediction_sum", ""] == pytest.approx(rows * value, rel=1e-6)
    assert found["merit_request_seconds_bucket", "le=0.0005"] == 0
    assert found["merit_request_seconds_bucket", "le=0.001"] == 1
    assert found["merit_rows_total", ""] == rows


def test_classes_are_counted_by_name() -> None:
    metrics = RequestMetrics(ORIGIN, "multiclass", ["x", "y"], None)
    metrics.count_predictions(1.0, np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], dtype=np.float32))
    found = _samples(metrics)
    assert (found["merit_predictions_total", "class=x"], found["merit_predictions_total", "class=y"]) == (1, 2)


def test_every_status_is_counted_and_an_unknown_one_as_its_kind() -> None:
    metrics = RequestMetrics(ORIGIN, "binary", None, None)
    for status in (200, 202, *KINDS):
        metrics.count_request("/predict", status)
    metrics.count_request("/feedback", 418)
    metrics.count_request("/openapi.json", 599)
    found = _samples(metrics)
    counted = {labels: count for (name, labels), count in found.items() if name == "merit_requests_total"}
    assert counted == {f"route=/predict,status={status}": 1 for status in (200, 202, *KINDS)} | {
        "route=/feedback,status=400": 1,
        "route=/openapi.json,status=500": 1,
    }
    kinds = {labels: count for (name, labels), count in found.items() if name == "merit_errors_total"}
    assert kinds == {f"kind={kind}": 2 if status in {400, 500} else 1 for status, kind in KINDS.items()}


def test_feedback_that_nobody_keeps_is_no_bad_row() -> None:
    metrics = RequestMetrics(ORIGIN, "binary", None, None)
    metrics.count_request("/feedback", 404)
    found = _samples(metrics)
    assert found["merit_requests_total", "route=/feedback,status=404"] == 1
    assert (found["merit_errors_total", "kind=not_kept"], found["merit_errors_total", "kind=bad_rows"]) == (1, 0)


def test_what_is_kept_is_counted_and_named_as_what_it_is() -> None:
    metrics = RequestMetrics(ORIGIN, "binary", None, None)
    log = SimpleNamespace(written=6, dropped=1, failed=3, faults=4, waiting=5)
    metrics.update_gauges(2, log, SimpleNamespace(written=16, dropped=11, failed=13, faults=14, waiting=15))
    told = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    found = _samples(metrics)
    for name, count in {"written": 6, "dropped": 1, "failed": 3, "faults": 4}.items():
        assert found[f"merit_log_{name}_total", ""] == count
        assert found[f"merit_feedback_{name}_total", ""] == count + 10
    assert (found["merit_in_hand", ""], found["merit_log_waiting", ""], found["merit_feedback_waiting", ""]) == (
        2,
        5,
        15,
    )
    assert all(told[f"merit_log_{name}"].documentation.startswith("Rows") for name in ("written", "dropped", "failed"))
    assert told["merit_log_faults"].documentation.startswith("Failed attempts to write")
