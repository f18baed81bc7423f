"""Single rows that have arrived together are scored together, in one run of the graph.

A run costs much and a row in it little. What the event loop reads in this turn and the next is scored in the one after;
with nothing to read, a turn takes microseconds. What a row is answered must not depend on who asks at the same time, to
the last bit: that is tried with this model on this machine at the start, and where it is not so, each row is scored by
itself.
"""

import asyncio
import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring import LANES
from merit.serving.answers import Answers
from merit.serving.block import MOST, Block
from merit.serving.rows import BadRows

TRIED = MOST
"""Rows that are made of the example to try whether answers are steady."""


class Together:
    """Scores single rows.

    Args:
        answers: the model.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        rows = answers.rows
        self._block = Block(rows.numbers, rows.strings) if rows.is_plain and is_steady(answers) else None
        self._waiting: list[tuple[asyncio.Future[NDArray[np.float32]], bytes]] = []

    async def score(self, body: bytes) -> NDArray[np.float32]:
        """Return the prediction of the one row of a request, float32 [1], or [1, classes] for a multiclass task.

        Raises:
            BadRows: as `Rows.columns` does.
        """
        if self._block is None:
            return self._alone(body)
        try:
            self._block.put(self._answers.rows.values(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, struct.error):
            return self._alone(body)  # which says what is wrong, or takes it after all
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(loop.call_soon, self._run)
        future: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        self._waiting.append((future, body))
        if self._block.is_full:
            self._run()
        return await future

    def _alone(self, body: bytes) -> NDArray[np.float32]:
        return self._answers.score(self._answers.rows.columns(body))

    def _run(self) -> None:
        """Score what waits, if it was not scored already because it filled the block."""
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
        for place, (future, _) in enumerate(waiting):
            if not future.done():  # it may have been given up
                future.set_result(found[place : place + 1])

    def _one_by_one(self, waiting: "list[tuple[asyncio.Future[NDArray[np.float32]], bytes]]") -> None:
        for future, body in waiting:
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
    columns = {
        name: np.repeat(values, TRIED) if values.dtype == object else values * spread
        for name, values in example.items()
    }

    def scored(places: Any) -> NDArray[np.float32]:
        return answers.score({name: values[places] for name, values in columns.items()})

    alone = np.concatenate([scored([place]) for place in range(TRIED)])
    orders = [np.roll(np.arange(TRIED), shift)[:height] for shift in range(LANES) for height in (2 * LANES, TRIED)]
    return all(scored(order).tobytes() == alone[order].tobytes() for order in orders)
