"""Prometheus metrics of a stream worker."""

from merit.errors import MeritError
from merit.stream.events import CAUSES

HOST = "127.0.0.1"
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class StreamMetrics:
    """Metrics of one worker, in a registry of their own.

    Args:
        model: the name of the model.
        version: its version.
        commit: the Git commit of its package.
    """

    def __init__(self, model: str, version: str, commit: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = target_registry = CollectorRegistry()
        info = Gauge("merit_info", "The model in service.", ["model", "version", "commit"], registry=target_registry)
        info.labels(model, version, commit).set(1)
        self.events = Counter("merit_stream_events", "Events received.", registry=target_registry)
        self.redelivered = Counter(
            "merit_stream_redelivered", "Redelivered events, which are scored alone.", registry=target_registry
        )
        self.predictions = Counter(
            "merit_stream_answers", "Predictions that the broker confirmed.", registry=target_registry
        )
        dead_letters = Counter(
            "merit_stream_dead_letters", "Events without a prediction, by cause.", ["cause"], registry=target_registry
        )
        self.dead_letters = {cause: dead_letters.labels(cause) for cause in CAUSES}
        self.publish_failures = Counter(
            "merit_stream_publish_failures", "Failed attempts to publish.", registry=target_registry
        )
        self.in_flight = Gauge(
            "merit_stream_in_flight", "Events in progress, not acknowledged.", registry=target_registry
        )
        self.lag = Gauge(
            "merit_stream_lag", "Events in the broker that no worker has acknowledged yet.", registry=target_registry
        )
        self.lag.set(float("nan"))  # not measured yet
        self.broker_up = Gauge(
            "merit_stream_broker_up", "1 if the broker answered the last check, else 0.", registry=target_registry
        )
        self.batch_sizes = Histogram(
            "merit_stream_batch_events", "Events scored at once.", buckets=BATCH_SIZE_BUCKETS, registry=target_registry
        )
        self.batch_seconds = Histogram(
            "merit_stream_batch_seconds",
            "From arrival to acknowledgement.",
            buckets=DURATION_BUCKETS_S,
            registry=target_registry,
        )

    def serve(self, port: int | None) -> None:
        """Serve the metrics on the loopback address; None serves none.

        Raises:
            MeritError: the port is taken.
        """
        from prometheus_client import start_http_server

        if port is None:
            return
        try:
            start_http_server(port, addr=HOST, registry=self.registry)
        except OSError as error:
            raise MeritError(
                f"stream: {HOST}:{port} can't be used for metrics ({error.strerror}); choose another by "
                "--metrics-port, or in stream.metrics_port, where null is for none"
            ) from error
