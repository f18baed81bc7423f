import asyncio
import threading

import pytest

from merit.stream.bounded_threads import BoundedThreads


def _fail() -> None:
    raise ValueError("its own")


def test_a_call_returns_its_result_and_raises_its_own_error() -> None:
    threads = BoundedThreads(60)
    assert asyncio.run(threads.run(lambda: 3)) == 3
    with pytest.raises(ValueError, match="its own"):
        asyncio.run(threads.run(_fail))
    assert threads.stuck_count == 0


def test_a_call_past_its_time_is_abandoned_and_counted_until_it_ends() -> None:
    threads, end = BoundedThreads(0.001), threading.Event()
    with pytest.raises(TimeoutError):
        asyncio.run(threads.run(lambda: end.wait(60)))
    assert threads.stuck_count == 1
    (stuck,) = threads._abandoned
    end.set()
    stuck.join(60)
    assert threads.stuck_count == 0
