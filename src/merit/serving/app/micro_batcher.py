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
from merit.serving.app.column_buffer import MAX_BATCH_ROWS
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel

TRIAL_ROWS = MAX_BATCH_ROWS
"""Rows generated from the example to test whether predictions depend on their batch."""
MAX_ARRAY_VALUES = 16_384
"""Maximum numbers in the arrays of a row; a small request can't have more, because each takes two bytes or more."""

PendingRequest = tuple[asyncio.Future[NDArray[np.float32]], int, bytes]


class MicroBatcher:
    """Scores small requests in micro-batches.

    Args:
        model: the served model.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        is_small = sum(map(math.prod, model.decoder.array_shapes.values())) <= MAX_ARRAY_VALUES
        self._buffer = model.decoder.create_buffer() if is_small and is_batch_invariant(model) else None
        self._pending: list[PendingRequest] = []

    async def score(self, body: bytes) -> NDArray[np.float32]:
        """Return the predictions of a body's rows, float32 [rows], or [rows, classes] for a multiclass task.

        Raises:
            BadRows: the body is not valid.
        """
        buffer = self._buffer
        if buffer is None:
            return self._score_alone(body)
        rows = self._model.decoder.decode_rows(body)
        if len(rows) > MAX_BATCH_ROWS:
            return self._model.score(self._model.decoder.pack_rows(rows))
        if len(rows) > buffer.free_rows:
            self._score_pending()
        buffer.append_rows(rows)
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(loop.call_soon, self._score_pending)
        future: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        self._pending.append((future, len(rows), body))
        return await future

    def _score_alone(self, body: bytes) -> NDArray[np.float32]:
        return self._model.score(self._model.decoder.decode_columns(body))

    def _score_pending(self) -> None:
        """Score the pending requests; there are none if a full buffer has triggered this already."""
        if not self._pending:
            return
        assert self._buffer is not None
        pending, self._pending = self._pending, []
        columns = self._buffer.take_columns()
        try:
            predictions = self._model.score(columns)
        except Exception:  # noqa: BLE001  # caused by one request; the others must still be answered
            self._score_one_by_one(pending)
            return
        start = 0
        for future, count, _ in pending:
            if not future.done():  # else the request was cancelled
                future.set_result(predictions[start : start + count])
            start += count

    def _score_one_by_one(self, pending: list[PendingRequest]) -> None:
        for future, _, body in pending:
            if future.done():
                continue
            try:
                future.set_result(self._score_alone(body))
            except Exception as error:  # noqa: BLE001  # raised in the awaiting request
                future.set_exception(error)


def is_batch_invariant(model: ServedModel) -> bool:
    """Return whether rows like the package's example get identical predictions in batches of any size and order."""
    try:
        example = model.decoder.decode_columns(msgspec.json.encode(model.package.signature["example"]))
    except BadRows:
        return False
    factors = np.random.default_rng(0).uniform(0.5, 1.5, TRIAL_ROWS)
    columns = {name: _scale_rows(values, factors) for name, values in example.items()}

    def score_rows(indices: Any) -> NDArray[np.float32]:
        return model.score({name: values[indices] for name, values in columns.items()})

    reference = np.concatenate([score_rows([index]) for index in range(TRIAL_ROWS)])
    orders = [
        np.roll(np.arange(TRIAL_ROWS), shift)[:height] for shift in range(LANES) for height in (2 * LANES, TRIAL_ROWS)
    ]
    return all(score_rows(order).tobytes() == reference[order].tobytes() for order in orders)


def _scale_rows(values: NDArray[Any], factors: NDArray[np.float64]) -> NDArray[Any]:
    """Return variations of the one row in `values`: its numbers times each factor; texts are repeated."""
    if values.dtype == object:
        return np.repeat(values, len(factors))
    scaled: NDArray[Any] = values * factors.reshape(-1, *[1] * (values.ndim - 1))
    return scaled
