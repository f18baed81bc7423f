"""Quotas: so many requests a minute for each key, by a bucket of tokens in each worker."""

import math
import time


class Quotas:
    """The buckets of a worker. The kernel shares connections among workers, so each has its part of a quota.

    Args:
        workers: processes that answer.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when there were so many

    def wait(self, key: str, quota: int) -> int:
        """Take a token of a key; return 0, or the seconds until there is one."""
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
