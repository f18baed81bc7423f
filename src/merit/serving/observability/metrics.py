"""Counts requests and predictions, and renders the counts for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.serving.observability.counts import Counts

ROUTES = ("/predict", "/feedback", "/metrics", "/openapi.json")
KINDS = {
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
STATUSES = (200, 202, *KINDS)
LATENCY = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency buckets, in seconds."""
SHARES = tuple(round(0.05 * step, 2) for step in range(1, 21))
NUMBERS = (*(-(10.0**power) for power in range(6, -4, -1)), 0.0, *(10.0**power for power in range(-3, 7)))
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
FEW = 16
"""Maximum predictions counted one by one; more are counted with numpy, which is slower for few."""
GAUGES = ("in_hand", "log_waiting", "feedback_waiting")
TOLD = {
    "written": "written to files",
    "dropped": "dropped because the queue was full",
    "failed": "accepted and then lost",
}
KEPT = {
    **{f"log_{name}": f"Rows of the prediction log {told}." for name, told in TOLD.items()},
    "log_faults": "Failed attempts to write the prediction log; the rows stay queued.",
    **{f"feedback_{name}": f"Truths {told}." for name, told in TOLD.items()},
    "feedback_faults": "Failed attempts to write feedback; the truths stay queued.",
}
"""Counters of the prediction log and of feedback, with their help texts."""


class Metrics:
    """Counts requests in memory shared by the workers, and renders the sum over all workers.

    All values live in one array of counters; the attributes set in `__init__` are the indices of its sections.

    Args:
        origin: model, version and commit: labels of every series.
        task: binary, multiclass or regression; decides the buckets of the predictions.
        classes: the class labels of a multiclass task, else None.
        folder: folder of the workers' counter files; None for a single process.
    """

    def __init__(self, origin: Mapping[str, str], task: str, classes: list[Any] | None, folder: Path | None) -> None:
        self._labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in origin.items())
        self._bounds = SHARES if task == "binary" else NUMBERS
        self._classes = classes
        buckets = len(classes) if classes is not None else len(self._bounds) + 1
        self._requests = {
            (route, status): place for place, (route, status) in enumerate((r, s) for r in ROUTES for s in STATUSES)
        }
        at = len(self._requests)
        self._latency, at = at, at + len(LATENCY) + 1
        self._seconds, at = at, at + 1
        self._rows, at = at, at + 1
        self._predicted, at = at, at + buckets
        self._sum, at = at, at + 1
        self._kept, at = at, at + len(KEPT)
        self._gauges = range(at, at + len(GAUGES))
        self._counts = Counts(self._gauges.stop, folder)
        self._values = self._counts.values
        self._answered = self._requests["/predict", 200]

    def answered(self, seconds: float, found: NDArray[np.float32]) -> None:
        """Count a request answered with predictions, and its latency in seconds."""
        values = self._values
        values[self._answered] += 1
        values[self._latency + bisect_left(LATENCY, seconds)] += 1
        values[self._seconds] += seconds
        rows = len(found)
        values[self._rows] += rows
        if rows <= FEW and self._classes is None:
            for value in found.tolist():
                values[self._predicted + bisect_left(self._bounds, value)] += 1
                values[self._sum] += value
        else:
            self._many(found)

    def _many(self, found: NDArray[np.float32]) -> None:
        if self._classes is not None:
            places = found.argmax(axis=1)
        else:
            places = np.searchsorted(self._bounds, found.astype(np.float64))
            self._values[self._sum] += float(found.sum(dtype=np.float64))
        for place, count in enumerate(np.bincount(places).tolist()):
            if count:
                self._values[self._predicted + place] += count

    def counted(self, route: str, status: int) -> None:
        """Count a request answered with this status and without predictions."""
        place = self._requests.get((route, status))
        if place is None:
            place = self._requests[route, 500 if status >= 500 else 400]
        self._values[place] += 1

    def tell(self, in_hand: int, log: Any, feedback: Any) -> None:
        """Update the gauges and the counters of the prediction log and of feedback."""
        values = self._values
        for place, value in zip(self._gauges, (in_hand, log.waiting, feedback.waiting), strict=True):
            values[place] = value
        for place, name in enumerate(KEPT, self._kept):
            of, _, what = name.partition("_")
            values[place] = getattr(log if of == "log" else feedback, what)

    def close(self) -> None:
        """Release this worker's counters."""
        self._counts.close()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return ("\n".join(self._lines(self._counts.total(self._gauges))) + "\n").encode()

    def _lines(self, found: list[float]) -> Iterator[str]:
        yield from self._family(
            "merit_info", "gauge", "Always 1; its labels name the package being served.", [("", 1.0)]
        )
        by_route = [
            (f'route="{route}",status="{status}"', found[place])
            for (route, status), place in self._requests.items()
            if found[place]
        ]
        yield from self._family("merit_requests_total", "counter", "Requests by route and status.", by_route)
        kinds = {kind: sum(found[self._requests[route, status]] for route in ROUTES) for status, kind in KINDS.items()}
        named = [(f'kind="{kind}"', count) for kind, count in kinds.items()]
        yield from self._family("merit_errors_total", "counter", "Requests answered with an error, by kind.", named)
        told = "Seconds from a request's head to its response."
        latency = found[self._latency : self._seconds]
        yield from self._histogram("merit_request_seconds", told, LATENCY, latency, found[self._seconds])
        yield from self._family("merit_rows_total", "counter", "Rows scored.", [("", found[self._rows])])
        predicted = found[self._predicted : self._sum]
        if self._classes is not None:
            series = [
                (f'class="{_escaped(str(name))}"', count) for name, count in zip(self._classes, predicted, strict=True)
            ]
            yield from self._family("merit_predictions_total", "counter", "Predictions by class.", series)
        else:
            yield from self._histogram("merit_prediction", "Predictions.", self._bounds, predicted, found[self._sum])
        for place, (name, told) in enumerate(KEPT.items(), self._kept):
            yield from self._family(f"merit_{name}_total", "counter", told, [("", found[place])])
        waits = {
            "in_hand": "Requests in flight.",
            "log_waiting": "Rows queued for the prediction log.",
            "feedback_waiting": "Truths queued to be written.",
        }
        for place, name in zip(self._gauges, GAUGES, strict=True):
            yield from self._family(f"merit_{name}", "gauge", waits[name], [("", found[place])])

    def _family(self, name: str, kind: str, told: str, series: list[tuple[str, float]]) -> Iterator[str]:
        yield f"# HELP {name} {told}"
        yield f"# TYPE {name} {kind}"
        for labels, value in series:
            yield self._line(name, labels, value)

    def _histogram(
        self, name: str, told: str, bounds: tuple[float, ...], counts: list[float], total: float
    ) -> Iterator[str]:
        yield f"# HELP {name} {told}"
        yield f"# TYPE {name} histogram"
        sum_ = 0.0
        for bound, count in zip((*(f"{bound:g}" for bound in bounds), "+Inf"), counts, strict=True):
            sum_ += count
            yield self._line(f"{name}_bucket", f'le="{bound}"', sum_)
        yield self._line(f"{name}_sum", "", total)
        yield self._line(f"{name}_count", "", sum_)

    def _line(self, name: str, labels: str, value: float) -> str:
        both = f"{self._labels},{labels}" if labels else self._labels
        return f"{name}{{{both}}} {value:.17g}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
