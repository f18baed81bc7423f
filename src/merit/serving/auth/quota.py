"""Enforces quotas, in requests per minute and key, with a token bucket in each worker."""

import math
import time


class Quotas:
    """The token buckets of one worker.

    The kernel distributes connections among the workers, so each worker enforces an equal share of a quota.

    Args:
        workers: number of worker processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and the time of that count

    def wait(self, key: str, quota: int) -> int:
        """Take a token of a key; return 0, or the seconds until one is available."""
        most = max(1.0, quota / self._workers)
        rate = quota / self._workers / 60
        now = time.monotonic()
        tokens, since = self._buckets.get(key, (most, now))
        tokens = min(most, tokens + (now - since) * rate)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            return math.ceil((1 - tokens) / rate)
        self._buckets[key] = (tokens - 1, now)
        return 0
