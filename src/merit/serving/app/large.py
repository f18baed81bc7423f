"""Answers requests that take long, in threads: large bodies, and tables."""

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
"""Of serve.max_concurrent, the share that the tables of one caller may take: one in so many."""

Result = TypeVar("Result")


class Large:
    """Answers in threads, so that small requests are still served.

    Args:
        answers: the model.
        told: the settings.
    """

    def __init__(self, answers: Answers, told: Settings) -> None:
        self._answers, self._tables = answers, Tables(answers, told)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="large")
        self._table_pool = ThreadPoolExecutor(1, thread_name_prefix="tables")  # there is one helper
        self._queue = FairQueue(max(1, told.max_concurrent // OF_A_CALLER))
        self._seconds = told.timeout_seconds * SHARE

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Return what `work` returns, called in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def rows(self, body: bytes) -> tuple[NDArray[np.float32], bytes]:
        """Return the predictions of rows in JSON, and the answer in JSON.

        Raises:
            BadRows: as `Rows.columns` does.
        """
        return await self.run(self._of_rows, body)

    async def table(
        self, body: bytes, form: str | None, answer: bytes, caller: str, began: float
    ) -> tuple[NDArray[np.float32], bytes, Columns | None]:
        """Return the predictions of a request whose body or answer is a table, the answer, and the table's columns.

        Args:
            body: the rows.
            form: the form of the table; None of JSON.
            answer: the content type of the answer.
            caller: who asks; callers take turns.
            began: when the request did, by `time.perf_counter`.

        Raises:
            BadRows: as `Tables.columns` and `Rows.columns` do.
            Refusal: 429, too many tables of the caller are being read; 503, there is no helper or no time.
        """
        run = asyncio.get_running_loop().run_in_executor
        async with self._queue.turn(caller):
            return await run(self._table_pool, self._of_table, body, form, answer, began + self._seconds)

    def close(self) -> None:
        """End the threads and the helper."""
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
