"""What a worker of a stream shows on its Prometheus port."""

from merit.errors import MeritError
from merit.stream.events import CAUSES

HOST = "127.0.0.1"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """Counters and gauges of one worker, in a registry of their own.

    Args:
        model: whose answers are counted.
        version: its version.
        commit: of the code that it was trained by.
    """

    def __init__(self, model: str, version: str, commit: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = to = CollectorRegistry()
        told = Gauge("merit_info", "What answers.", ["model", "version", "commit"], registry=to)
        told.labels(model, version, commit).set(1)
        self.events = Counter("merit_stream_events", "Events that came.", registry=to)
        self.again = Counter("merit_stream_redelivered", "Events that came again, and were scored alone.", registry=to)
        self.answers = Counter("merit_stream_answers", "Answers that the broker confirmed.", registry=to)
        letters = Counter("merit_stream_dead_letters", "Events not answered, by cause.", ["cause"], registry=to)
        self.dead = {cause: letters.labels(cause) for cause in CAUSES}
        self.failures = Counter("merit_stream_publish_failures", "Tries to publish that failed.", registry=to)
        self.in_flight = Gauge("merit_stream_in_flight", "Events in hand, not acknowledged.", registry=to)
        self.lag = Gauge("merit_stream_lag", "Events in the broker that no worker has acknowledged yet.", registry=to)
        self.lag.set(float("nan"))  # not asked yet
        self.up = Gauge("merit_stream_broker_up", "Whether the broker answered when it was last asked.", registry=to)
        self.sizes = Histogram("merit_stream_batch_events", "Events scored at once.", buckets=SIZES, registry=to)
        self.seconds = Histogram(
            "merit_stream_batch_seconds",
            "From arrival to acknowledgement.",
            buckets=SECONDS,
            registry=to,
        )

    def show(self, port: int | None) -> None:
        """Serve them on this machine's own address.

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
