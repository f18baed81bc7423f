"""Scores expensive requests in threads: large JSON bodies, and tables."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns
from merit.serving.app.answers import Answers
from merit.serving.app.asgi import JSON
from merit.serving.app.fairness import FairQueue
from merit.serving.codec.tables import SHARE, Tables
from merit.serving.settings import Settings

THREADS = 2
OF_A_CALLER = 4
"""Divisor of serve.max_concurrent: the tables of one caller may use at most this fraction of it."""

Result = TypeVar("Result")


class Large:
    """Scores requests in threads, so that the event loop still serves small ones.

    Args:
        answers: the served model.
        told: the section `serve`.
    """

    def __init__(self, answers: Answers, told: Settings) -> None:
        self._answers, self._tables = answers, Tables(answers, told)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="large")
        self._table_pool = ThreadPoolExecutor(1, thread_name_prefix="tables")  # there is one helper
        self._queue = FairQueue(max(1, told.max_concurrent // OF_A_CALLER))
        self._seconds = told.timeout_seconds * SHARE

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Call a function in a thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def rows(self, body: bytes) -> tuple[NDArray[np.float32], bytes]:
        """Score a JSON body; return the predictions, and the response as JSON.

        Raises:
            BadRows: the body is not valid.
        """
        return await self.run(self._of_rows, body)

    async def table(
        self, body: bytes, form: str | None, answer: bytes, caller: str, began: float
    ) -> tuple[NDArray[np.float32], bytes, Columns | None]:
        """Score a request whose body or response is a table.

        Args:
            body: the rows.
            form: the table format of the body; None for JSON.
            answer: the content type of the response.
            caller: name or address of the caller; callers take turns.
            began: start time of the request, by `time.perf_counter`.

        Returns:
            The predictions, the response body, and the columns of the table (None for a JSON body).

        Raises:
            BadRows: the body is not valid.
            Refusal: 429, the caller has too many tables in the queue; 503, the helper is not available or time is up.
        """
        run = asyncio.get_running_loop().run_in_executor
        async with self._queue.turn(caller):
            return await run(self._table_pool, self._of_table, body, form, answer, began + self._seconds)

    def close(self) -> None:
        """Stop the threads and the helper process."""
        for pool in (self._pool, self._table_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._tables.close()

    def _of_rows(self, body: bytes) -> tuple[NDArray[np.float32], bytes]:
        found = self._answers.score(self._answers.rows.columns(body))
        return found, self._answers.encoded(found)

    def _of_table(
        self, body: bytes, form: str | None, answer: bytes, until: float
    ) -> tuple[NDArray[np.float32], bytes, Columns | None]:
        columns = None if form is None else self._tables.columns(body, form, until)
        found = self._answers.score(columns or self._answers.rows.columns(body))
        return found, self._answers.encoded(found) if answer is JSON else self._tables.encoded(found, until), columns
