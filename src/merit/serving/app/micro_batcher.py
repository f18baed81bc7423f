"""Rows of small requests that have arrived together are scored together, in one run of the graph.

A run costs much and a row in it little. What the event loop reads in this turn and the next is scored in the one after;
with nothing to read, a turn takes microseconds. One row, an object, and a few, an array, go the same way. What a row is
answered must not depend on who asks at the same time, to the last bit: that is tried with this model on this machine at
the start, and where it is not so, each request is scored by itself.
"""

import asyncio
import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import LANES
from merit.serving.app.answers import Answers
from merit.serving.app.block import MOST
from merit.serving.app.rows import BadRows

TRIED = MOST
"""Rows that are made of the example to try whether answers are steady."""
VALUES = 16_384
"""Numbers in the arrays of a row, at most: no row of a small request has more, for each takes a digit and a comma."""

Waiting = tuple[asyncio.Future[NDArray[np.float32]], int, bytes]


class Together:
    """Scores small requests.

    Args:
        answers: the model.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        is_small = sum(map(math.prod, answers.rows.arrays.values())) <= VALUES
        self._block = answers.rows.block() if is_small and is_steady(answers) else None
        self._waiting: list[Waiting] = []

    async def score(self, body: bytes) -> NDArray[np.float32]:
        """Return the predictions of a request's rows, float32 [rows], or [rows, classes] for a multiclass task.

        Raises:
            BadRows: as `Rows.columns` does.
        """
        block = self._block
        if block is None:
            return self._alone(body)
        rows = self._answers.rows.values(body)
        if len(rows) > MOST:
            return self._answers.score(self._answers.rows.packed(rows, body))
        if len(rows) > block.room:
            self._run()
        try:
            block.put(rows)
        except OverflowError:
            return self._alone(body)  # which says what is wrong
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(loop.call_soon, self._run)
        future: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        self._waiting.append((future, len(rows), body))
        return await future

    def _alone(self, body: bytes) -> NDArray[np.float32]:
        return self._answers.score(self._answers.rows.columns(body))

    def _run(self) -> None:
        """Score what waits, if it was not scored already because there was no more room."""
        if not self._waiting:
            return
        assert self._block is not None
        waiting, self._waiting = self._waiting, []
        columns = self._block.taken()
        try:
            found = self._answers.score(columns)
        except Exception:  # noqa: BLE001  # of one of them; the others are to be answered
            self._one_by_one(waiting)
            return
        start = 0
        for future, count, _ in waiting:
            if not future.done():  # it may have been given up
                future.set_result(found[start : start + count])
            start += count

    def _one_by_one(self, waiting: list[Waiting]) -> None:
        for future, _, body in waiting:
            if future.done():
                continue
            try:
                future.set_result(self._alone(body))
            except Exception as error:  # noqa: BLE001  # raised where it is awaited
                future.set_exception(error)


def is_steady(answers: Answers) -> bool:
    """Say whether rows like the package's example get the very same answer wherever they stand among others."""
    try:
        example = answers.rows.columns(msgspec.json.encode(answers.package.signature["example"]))
    except BadRows:
        return False
    spread = np.random.default_rng(0).uniform(0.5, 1.5, TRIED)
    columns = {name: _spread(values, spread) for name, values in example.items()}

    def scored(places: Any) -> NDArray[np.float32]:
        return answers.score({name: values[places] for name, values in columns.items()})

    alone = np.concatenate([scored([place]) for place in range(TRIED)])
    orders = [np.roll(np.arange(TRIED), shift)[:height] for shift in range(LANES) for height in (2 * LANES, TRIED)]
    return all(scored(order).tobytes() == alone[order].tobytes() for order in orders)


def _spread(values: NDArray[Any], spread: NDArray[np.float64]) -> NDArray[Any]:
    """Return rows like the one of `values`: its numbers times those of `spread`."""
    if values.dtype == object:
        return np.repeat(values, len(spread))
    made: NDArray[Any] = values * spread.reshape(-1, *[1] * (values.ndim - 1))
    return made
