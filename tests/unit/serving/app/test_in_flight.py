import asyncio

import pytest

from merit.serving.app.in_flight import InFlightRequests


async def _be_cancelled(requests: InFlightRequests, started_at: float) -> str:
    task = requests.get_task()
    requests.active[task] = started_at
    requests.cancel_overdue()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        requests.undo_cancellation(error)
        await asyncio.sleep(0)  # it can still answer
        return f"overdue, {len(requests.active)} active"
    finally:
        await requests.close()
    return "in time"


def test_a_request_past_its_time_is_cancelled_and_can_still_answer() -> None:
    assert asyncio.run(_be_cancelled(InFlightRequests(1, 60.0), started_at=-1e9)) == "overdue, 0 active"


def test_a_request_in_time_goes_on() -> None:
    assert asyncio.run(_be_cancelled(InFlightRequests(1, 1e12), started_at=0.0)) == "in time"


def test_whatever_else_cancels_a_request_is_passed_on() -> None:
    async def cancel() -> None:
        requests = InFlightRequests(1, 60.0)
        try:
            requests.undo_cancellation(asyncio.CancelledError("from outside"))
        finally:
            await requests.close()

    with pytest.raises(asyncio.CancelledError, match="from outside"):
        asyncio.run(cancel())


def test_another_event_loop_begins_with_no_request() -> None:
    requests = InFlightRequests(1, 60.0)

    async def begin() -> int:
        task = requests.get_task()
        count = len(requests.active)
        requests.active[task] = 0.0
        await requests.close()
        return count

    assert [asyncio.run(begin()), asyncio.run(begin())] == [0, 0]
