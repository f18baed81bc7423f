"""Counts requests and predictions, and renders the counts for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.serving.observability.shared_counters import SharedCounters

ROUTES = ("/predict", "/feedback", "/metrics", "/openapi.json")
ERROR_KINDS = {
    400: "bad_rows",
    401: "no_key",
    403: "forbidden",
    404: "not_kept",
    405: "method",
    408: "slow_body",
    413: "too_large",
    415: "media_type",
    429: "quota",
    499: "client_left",
    500: "internal",
    503: "overloaded",
    504: "timeout",
}
"""Label `kind` of each error status in merit_errors_total."""
COUNTED_STATUSES = (200, 202, *ERROR_KINDS)
LATENCY_BUCKETS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds of the latency buckets, in seconds."""
PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))
NUMBER_BUCKETS = (*(-(10.0**power) for power in range(6, -4, -1)), 0.0, *(10.0**power for power in range(-3, 7)))
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
MAX_COUNTED_SINGLY = 16
"""Maximum predictions counted one by one; more are counted with numpy, which is slower for few."""
GAUGES = ("in_hand", "log_waiting", "feedback_waiting")
OUTCOME_TEXTS = {
    "written": "written to files",
    "dropped": "dropped because the queue was full",
    "failed": "accepted and then lost",
}
LOG_COUNTERS = {
    **{f"log_{name}": f"Rows of the prediction log {told}." for name, told in OUTCOME_TEXTS.items()},
    "log_faults": "Failed attempts to write the prediction log; the rows stay queued.",
    **{f"feedback_{name}": f"Truths {told}." for name, told in OUTCOME_TEXTS.items()},
    "feedback_faults": "Failed attempts to write feedback; the truths stay queued.",
}
"""Counters of the prediction log and of feedback, with their help texts."""


class RequestMetrics:
    """Counts requests in memory shared by the workers, and renders the sum over all workers.

    All values live in one array of counters; the attributes set in `__init__` are the indices of its sections.

    Args:
        origin: model, version and commit: labels of every series.
        task: binary, multiclass or regression; decides the buckets of the predictions.
        classes: the class labels of a multiclass task, else None.
        folder: folder of the workers' counter files; None for a single process.
    """

    def __init__(self, origin: Mapping[str, str], task: str, classes: list[Any] | None, folder: Path | None) -> None:
        self._labels = ",".join(f'{name}="{_escape_label(value)}"' for name, value in origin.items())
        self._bounds = PROBABILITY_BUCKETS if task == "binary" else NUMBER_BUCKETS
        self._classes = classes
        bucket_count = len(classes) if classes is not None else len(self._bounds) + 1
        self._request_indices = {
            (route, status): index
            for index, (route, status) in enumerate((r, s) for r in ROUTES for s in COUNTED_STATUSES)
        }
        offset = len(self._request_indices)
        self._latency_start, offset = offset, offset + len(LATENCY_BUCKETS_S) + 1
        self._seconds_index, offset = offset, offset + 1
        self._rows_index, offset = offset, offset + 1
        self._predicted_start, offset = offset, offset + bucket_count
        self._sum_index, offset = offset, offset + 1
        self._log_counters_start, offset = offset, offset + len(LOG_COUNTERS)
        self._gauge_indices = range(offset, offset + len(GAUGES))
        self._counters = SharedCounters(self._gauge_indices.stop, folder)
        self._values = self._counters.values
        self._predict_ok_index = self._request_indices["/predict", 200]

    def count_predictions(self, seconds: float, predictions: NDArray[np.float32]) -> None:
        """Count a request answered with predictions, and its latency in seconds."""
        values = self._values
        values[self._predict_ok_index] += 1
        values[self._latency_start + bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        values[self._seconds_index] += seconds
        rows = len(predictions)
        values[self._rows_index] += rows
        if rows <= MAX_COUNTED_SINGLY and self._classes is None:
            for value in predictions.tolist():
                values[self._predicted_start + bisect_left(self._bounds, value)] += 1
                values[self._sum_index] += value
        else:
            self._count_many(predictions)

    def _count_many(self, predictions: NDArray[np.float32]) -> None:
        if self._classes is not None:
            buckets = predictions.argmax(axis=1)
        else:
            buckets = np.searchsorted(self._bounds, predictions.astype(np.float64))
            self._values[self._sum_index] += float(predictions.sum(dtype=np.float64))
        for bucket, count in enumerate(np.bincount(buckets).tolist()):
            if count:
                self._values[self._predicted_start + bucket] += count

    def count_request(self, route: str, status: int) -> None:
        """Count a request answered with this status and without predictions."""
        index = self._request_indices.get((route, status))
        if index is None:
            index = self._request_indices[route, 500 if status >= 500 else 400]
        self._values[index] += 1

    def update_gauges(self, in_flight: int, log: Any, feedback: Any) -> None:
        """Update the gauges and the counters of the prediction log and of feedback."""
        values = self._values
        for index, value in zip(self._gauge_indices, (in_flight, log.waiting, feedback.waiting), strict=True):
            values[index] = value
        for index, name in enumerate(LOG_COUNTERS, self._log_counters_start):
            source, _, counter = name.partition("_")
            values[index] = getattr(log if source == "log" else feedback, counter)

    def close(self) -> None:
        """Release this worker's counters."""
        self._counters.close()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return ("\n".join(self._render_lines(self._counters.sum_workers(self._gauge_indices))) + "\n").encode()

    def _render_lines(self, totals: list[float]) -> Iterator[str]:
        yield from self._render_family(
            "merit_info", "gauge", "Always 1; its labels name the package being served.", [("", 1.0)]
        )
        by_route = [
            (f'route="{route}",status="{status}"', totals[index])
            for (route, status), index in self._request_indices.items()
            if totals[index]
        ]
        yield from self._render_family("merit_requests_total", "counter", "Requests by route and status.", by_route)
        kinds = {
            kind: sum(totals[self._request_indices[route, status]] for route in ROUTES)
            for status, kind in ERROR_KINDS.items()
        }
        by_kind = [(f'kind="{kind}"', count) for kind, count in kinds.items()]
        yield from self._render_family(
            "merit_errors_total", "counter", "Requests answered with an error, by kind.", by_kind
        )
        help_text = "Seconds from a request's head to its response."
        latency = totals[self._latency_start : self._seconds_index]
        yield from self._render_histogram(
            "merit_request_seconds", help_text, LATENCY_BUCKETS_S, latency, totals[self._seconds_index]
        )
        yield from self._render_family("merit_rows_total", "counter", "Rows scored.", [("", totals[self._rows_index])])
        predicted = totals[self._predicted_start : self._sum_index]
        if self._classes is not None:
            series = [
                (f'class="{_escape_label(str(name))}"', count)
                for name, count in zip(self._classes, predicted, strict=True)
            ]
            yield from self._render_family("merit_predictions_total", "counter", "Predictions by class.", series)
        else:
            yield from self._render_histogram(
                "merit_prediction", "Predictions.", self._bounds, predicted, totals[self._sum_index]
            )
        for place, (name, help_text) in enumerate(LOG_COUNTERS.items(), self._log_counters_start):
            yield from self._render_family(f"merit_{name}_total", "counter", help_text, [("", totals[place])])
        help_texts = {
            "in_hand": "Requests in flight.",
            "log_waiting": "Rows queued for the prediction log.",
            "feedback_waiting": "Truths queued to be written.",
        }
        for place, name in zip(self._gauge_indices, GAUGES, strict=True):
            yield from self._render_family(f"merit_{name}", "gauge", help_texts[name], [("", totals[place])])

    def _render_family(self, name: str, kind: str, help_text: str, series: list[tuple[str, float]]) -> Iterator[str]:
        yield f"# HELP {name} {help_text}"
        yield f"# TYPE {name} {kind}"
        for labels, value in series:
            yield self._render_sample(name, labels, value)

    def _render_histogram(
        self, name: str, help_text: str, bounds: tuple[float, ...], counts: list[float], total: float
    ) -> Iterator[str]:
        yield f"# HELP {name} {help_text}"
        yield f"# TYPE {name} histogram"
        cumulative = 0.0
        for bound, count in zip((*(f"{bound:g}" for bound in bounds), "+Inf"), counts, strict=True):
            cumulative += count
            yield self._render_sample(f"{name}_bucket", f'le="{bound}"', cumulative)
        yield self._render_sample(f"{name}_sum", "", total)
        yield self._render_sample(f"{name}_count", "", cumulative)

    def _render_sample(self, name: str, labels: str, value: float) -> str:
        all_labels = f"{self._labels},{labels}" if labels else self._labels
        return f"{name}{{{all_labels}}} {value:.17g}"


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
