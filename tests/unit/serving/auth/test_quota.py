import time

import pytest

from merit.serving.auth.quota import TokenBuckets


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the buckets read, in its only element."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_worker_grants_its_share_of_a_minute_and_tells_the_seconds_to_the_next_token(clock: list[float]) -> None:
    buckets = TokenBuckets(2)
    assert [buckets.take_token("a", 12) for _ in range(8)] == [0] * 6 + [10, 10]
    clock[0] += 2.5  # a quarter of a token
    assert buckets.take_token("a", 12) == 8
    clock[0] += 7.5
    assert [buckets.take_token("a", 12) for _ in range(2)] == [0, 10]


def test_unused_tokens_are_kept_up_to_a_minutes_share(clock: list[float]) -> None:
    buckets = TokenBuckets(1)
    buckets.take_token("a", 3)
    clock[0] += 3600
    assert [buckets.take_token("a", 3) for _ in range(4)] == [0, 0, 0, 20]


def test_a_quota_below_one_for_each_worker_still_grants_one(clock: list[float]) -> None:
    buckets = TokenBuckets(4)
    assert [buckets.take_token("a", 1) for _ in range(2)] == [0, 240]


def test_keys_do_not_share_tokens(clock: list[float]) -> None:
    buckets = TokenBuckets(1)
    assert [buckets.take_token(key, 1) for key in "aab"] == [0, 60, 0]
