"""The engine `local`: reads chunks in order, and scores and writes them in a thread pool.

Polars and ONNX Runtime release Python's GIL, so threads are enough. Each run of the graph uses one thread, as in the
endpoint. The number of pending chunks is bounded by the number of threads, which bounds memory.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

import polars as pl

from merit.batch.job import Job, Tell
from merit.batch.scorer import Scorer
from merit.batch.sources import Files

Read = Callable[[], pl.DataFrame]


def run(files: Files, job: Job, scorer: Scorer, tell: Tell) -> None:
    """Score each chunk that is not done.

    Raises:
        Refused: rows violate the contract; the message is about the first such chunk.
    """
    total = files.rows()
    done = 0
    waiting: dict[Future[int], int] = {}
    with ThreadPoolExecutor(job.workers, "merit-predict") as pool:
        try:
            for number, rows, read in _chunks(files, job, scorer):
                if job.output.is_done(number):
                    done += rows
                    continue
                waiting[pool.submit(_score, job, scorer, files.name, number, read)] = number
                while len(waiting) > job.workers:
                    done += _finished(waiting)
                    tell(done, total)
            while waiting:
                done += _finished(waiting)
                tell(done, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunks(files: Files, job: Job, scorer: Scorer) -> Iterator[tuple[int, int, Read]]:
    """Yield for each chunk its index, its number of rows, and a function that reads it."""
    schema = scorer.schema(files.schema())
    if files.is_seekable:
        for chunk in files.pieces(job.chunk_rows):
            yield chunk.number, chunk.rows, partial(files.read, chunk, schema)
        return
    first = job.output.first_open()
    for number in range(first):
        yield number, job.chunk_rows, pl.DataFrame
    for number, table in files.chunks(list(schema), job.chunk_rows, first):
        yield number, table.height, partial(pl.DataFrame, table)


def _score(job: Job, scorer: Scorer, where: str, number: int, read: Read) -> int:
    return job.score(scorer, where, number, read())


def _finished(waiting: dict[Future[int], int]) -> int:
    """Remove the finished chunks from `waiting` and return their rows; wait for at least one."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    if any(future.exception() for future in done):
        done, _ = wait(waiting)  # so that the error of the lowest chunk is raised, whichever failed first
    return sum(future.result() for future in sorted(done, key=waiting.pop))
