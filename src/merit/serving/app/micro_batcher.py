"""Batches small requests that arrive at nearly the same time and scores them in one run of the graph.

A run has a high fixed cost and a low cost per row. Requests read in one iteration of the event loop and in the next are
scored in the iteration after that; an idle iteration takes microseconds. A prediction must not depend, to the last bit,
on the requests it is batched with: this is tested with the model on this machine at startup, and if it fails, each
request is scored on its own.
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
"""Rows generated from the example to test whether predictions depend on their batch."""
VALUES = 16_384
"""Maximum numbers in the arrays of a row; a small request can't have more, because each takes two bytes or more."""

Waiting = tuple[asyncio.Future[NDArray[np.float32]], int, bytes]


class Together:
    """Scores small requests in micro-batches.

    Args:
        answers: the served model.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        is_small = sum(map(math.prod, answers.rows.arrays.values())) <= VALUES
        self._block = answers.rows.block() if is_small and is_steady(answers) else None
        self._waiting: list[Waiting] = []

    async def score(self, body: bytes) -> NDArray[np.float32]:
        """Return the predictions of a body's rows, float32 [rows], or [rows, classes] for a multiclass task.

        Raises:
            BadRows: the body is not valid.
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
            return self._alone(body)  # raises the error that names the row and column
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(loop.call_soon, self._run)
        future: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        self._waiting.append((future, len(rows), body))
        return await future

    def _alone(self, body: bytes) -> NDArray[np.float32]:
        return self._answers.score(self._answers.rows.columns(body))

    def _run(self) -> None:
        """Score the pending requests; there are none if a full buffer has triggered this already."""
        if not self._waiting:
            return
        assert self._block is not None
        waiting, self._waiting = self._waiting, []
        columns = self._block.taken()
        try:
            found = self._answers.score(columns)
        except Exception:  # noqa: BLE001  # caused by one request; the others must still be answered
            self._one_by_one(waiting)
            return
        start = 0
        for future, count, _ in waiting:
            if not future.done():  # else the request was cancelled
                future.set_result(found[start : start + count])
            start += count

    def _one_by_one(self, waiting: list[Waiting]) -> None:
        for future, _, body in waiting:
            if future.done():
                continue
            try:
                future.set_result(self._alone(body))
            except Exception as error:  # noqa: BLE001  # raised in the awaiting request
                future.set_exception(error)


def is_steady(answers: Answers) -> bool:
    """Return whether rows like the package's example get identical predictions in batches of any size and order."""
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
    """Return variations of the one row in `values`: its numbers times each factor; texts are repeated."""
    if values.dtype == object:
        return np.repeat(values, len(spread))
    made: NDArray[Any] = values * spread.reshape(-1, *[1] * (values.ndim - 1))
    return made
