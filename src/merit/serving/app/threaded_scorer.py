"""Scores expensive requests in threads: large JSON bodies, and tables."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns
from merit.serving.app.asgi import JSON
from merit.serving.app.fair_queue import FairQueue
from merit.serving.app.served_model import ServedModel
from merit.serving.codec.tables import TIME_SHARE, TableCodec
from merit.serving.settings import Settings

THREAD_COUNT = 2
CALLER_DIVISOR = 4
"""Divisor of serve.max_concurrent: the tables of one caller may use at most this fraction of it."""

Result = TypeVar("Result")


class ThreadedScorer:
    """Scores requests in threads, so that the event loop still serves small ones.

    Args:
        model: the served model.
        settings: the section `serve`.
    """

    def __init__(self, model: ServedModel, settings: Settings) -> None:
        self._model, self._table_codec = model, TableCodec(model, settings)
        self._pool = ThreadPoolExecutor(THREAD_COUNT, thread_name_prefix="large")
        self._table_pool = ThreadPoolExecutor(1, thread_name_prefix="tables")  # there is one helper
        self._table_queue = FairQueue(max(1, settings.max_concurrent // CALLER_DIVISOR))
        self._table_timeout_s = settings.timeout_seconds * TIME_SHARE

    async def run_in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function in a thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def score_json(self, body: bytes) -> tuple[NDArray[np.float32], bytes]:
        """Score a JSON body; return the predictions, and the response as JSON.

        Raises:
            BadRows: the body is not valid.
        """
        return await self.run_in_thread(self._score_json, body)

    async def score_table(
        self, body: bytes, table_format: str | None, response_type: bytes, caller: str, started_at: float
    ) -> tuple[NDArray[np.float32], bytes, Columns | None]:
        """Score a request whose body or response is a table.

        Args:
            body: the rows.
            table_format: the table format of the body; None for JSON.
            response_type: the content type of the response.
            caller: name or address of the caller; callers take turns.
            started_at: start time of the request, by `time.perf_counter`.

        Returns:
            The predictions, the response body, and the columns of the table (None for a JSON body).

        Raises:
            BadRows: the body is not valid.
            HttpError: 429, the caller has too many tables in the queue; 503, the helper is not available or time is up.
        """
        run = asyncio.get_running_loop().run_in_executor
        async with self._table_queue.turn(caller):
            return await run(
                self._table_pool,
                self._score_table,
                body,
                table_format,
                response_type,
                started_at + self._table_timeout_s,
            )

    def close(self) -> None:
        """Stop the threads and the helper process."""
        for pool in (self._pool, self._table_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._table_codec.close()

    def _score_json(self, body: bytes) -> tuple[NDArray[np.float32], bytes]:
        predictions = self._model.score(self._model.decoder.decode_columns(body))
        return predictions, self._model.encode_response(predictions)

    def _score_table(
        self, body: bytes, table_format: str | None, response_type: bytes, deadline: float
    ) -> tuple[NDArray[np.float32], bytes, Columns | None]:
        columns = None if table_format is None else self._table_codec.decode_columns(body, table_format, deadline)
        predictions = self._model.score(columns or self._model.decoder.decode_columns(body))
        return (
            predictions,
            self._model.encode_response(predictions)
            if response_type is JSON
            else self._table_codec.encode_predictions(predictions, deadline),
            columns,
        )
