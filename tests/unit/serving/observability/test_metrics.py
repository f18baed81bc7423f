from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from merit.serving.observability.metrics import ERROR_KINDS, ROUTES, RequestMetrics

ORIGIN = {"model": 'a "b"', "version": "v\\1", "commit": "c"}


def _samples(metrics: RequestMetrics) -> dict[tuple[str, str], float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            assert {name: sample.labels[name] for name in ORIGIN} == ORIGIN
            rest = ",".join(f"{name}={value}" for name, value in sample.labels.items() if name not in ORIGIN)
            found[sample.name, rest] = sample.value
    return found


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("task", "value", "below"), [("binary", 0.32, "0.35"), ("regression", -20.0, "-10")])
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
    for status in ERROR_KINDS:
        metrics.count_request(ROUTES[0], status)
    metrics.count_request(ROUTES[1], 418)
    metrics.count_request(ROUTES[1], 599)
    found = _samples(metrics)
    assert all(found["merit_errors_total", f"kind={kind}"] >= 1 for kind in ERROR_KINDS.values())
    assert found["merit_requests_total", "route=/feedback,status=400"] == 1
    assert found["merit_requests_total", "route=/feedback,status=500"] == 1


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
