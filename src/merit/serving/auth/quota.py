"""Enforces quotas, in requests per minute and key, with a token bucket in each worker."""

import math
import time


class TokenBuckets:
    """The token buckets of one worker.

    The kernel distributes connections among the workers, so each worker enforces an equal share of a quota.

    Args:
        worker_count: number of worker processes.
    """

    def __init__(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and the time of that count

    def take_token(self, key: str, quota: int) -> int:
        """Take a token of a key; return 0, or the seconds until one is available."""
        capacity = max(1.0, quota / self._worker_count)
        rate = quota / self._worker_count / 60
        now = time.monotonic()
        tokens, updated_at = self._buckets.get(key, (capacity, now))
        tokens = min(capacity, tokens + (now - updated_at) * rate)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            return math.ceil((1 - tokens) / rate)
        self._buckets[key] = (tokens - 1, now)
        return 0
