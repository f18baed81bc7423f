import asyncio
import time

import pytest

from merit.serving.app.in_flight import InFlightRequests


def test_a_request_past_its_time_is_cancelled_once_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        requests = InFlightRequests(9, 10.0)
        late, in_time = (asyncio.create_task(asyncio.sleep(60)) for _ in range(2))
        monkeypatch.setattr(time, "perf_counter", lambda: 100.0)
        requests.active.update({late: 89.9, in_time: 90.0})
        for _ in range(2):
            requests.cancel_overdue()
        assert (requests.overdue, late.cancelling(), in_time.cancelling()) == ({late}, 1, 0)
        in_time.cancel()
        await asyncio.wait([late, in_time])

    asyncio.run(live())


def test_an_overdue_request_can_still_send_its_error_and_one_that_was_ended_otherwise_can_not() -> None:
    async def live() -> None:
        requests = InFlightRequests(9, 0.0)

        async def request() -> str:
            task = requests.get_task()
            requests.active[task] = 0.0
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                requests.undo_cancellation(error)
            assert (task.cancelling(), requests.overdue, requests.active) == (0, set(), {})
            await asyncio.sleep(0)
            return "timeout"

        tasks = [asyncio.create_task(request()) for _ in range(2)]
        await asyncio.sleep(0)
        requests.active.pop(tasks[1])
        requests.cancel_overdue()
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert tasks[0].result() == "timeout"
        assert tasks[1].cancelled()
        await requests.close()

    asyncio.run(live())


@pytest.mark.parametrize(("timeout_s", "interval_s"), [(1.0, 0.25), (30.0, 0.5)])
def test_requests_are_checked_four_times_within_their_limit_and_twice_a_second_at_least(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, interval_s: float
) -> None:
    waits: list[float] = []
    checked = asyncio.Event()
    sleep = asyncio.sleep

    async def record_wait(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    async def live() -> None:
        requests = InFlightRequests(9, timeout_s, checked.set)
        requests.get_task()
        monkeypatch.setattr(asyncio, "sleep", record_wait)
        await checked.wait()
        await requests.close()
        checked.clear()
        await sleep(0)
        assert not checked.is_set()

    asyncio.run(live())
    assert set(waits) == {interval_s}


def test_another_event_loop_begins_without_the_requests_of_the_last() -> None:
    requests = InFlightRequests(9, 60.0)

    async def live() -> None:
        task = requests.get_task()
        requests.active[task] = 0.0
        assert list(requests.active) == [task]
        await requests.close()

    for _ in range(2):
        asyncio.run(live())
