"""The engine `local`: reads chunks in order, and scores and writes them in a thread pool.

Polars and ONNX Runtime release Python's GIL, so threads are enough. Each run of the graph uses one thread, as in the
endpoint. The number of pending chunks is bounded by the number of threads, which bounds memory.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

import polars as pl

from merit.batch.job import Job, ReportProgress
from merit.batch.scorer import BatchScorer
from merit.batch.sources import InputFiles

NAME = "local"
NEEDS_SEEKABLE_FILES = False
ReadChunk = Callable[[], pl.DataFrame]


def score_chunks(files: InputFiles, job: Job, scorer: BatchScorer, report_progress: ReportProgress) -> None:
    """Score each chunk that is not done.

    Raises:
        Refused: rows violate the contract; the message is about the first such chunk.
    """
    total_rows = files.count_rows()
    done_rows = 0
    pending: dict[Future[int], int] = {}
    with ThreadPoolExecutor(job.workers, "merit-predict") as pool:
        try:
            for number, rows, read_chunk in _iterate_chunks(files, job, scorer):
                if job.output.is_done(number):
                    done_rows += rows
                    continue
                pending[pool.submit(_score_chunk, job, scorer, files.name, number, read_chunk)] = number
                while len(pending) > job.workers:
                    done_rows += _collect_finished(pending)
                    report_progress(done_rows, total_rows)
            while pending:
                done_rows += _collect_finished(pending)
                report_progress(done_rows, total_rows)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _iterate_chunks(files: InputFiles, job: Job, scorer: BatchScorer) -> Iterator[tuple[int, int, ReadChunk]]:
    """Yield for each chunk its index, its number of rows, and a function that reads it."""
    schema = scorer.select_schema(files.read_schema())
    if files.is_seekable:
        for chunk in files.locate_chunks(job.chunk_rows):
            yield chunk.number, chunk.rows, partial(files.read_chunk, chunk, schema)
        return
    first_missing = job.output.find_first_missing()
    for number in range(first_missing):
        yield number, job.chunk_rows, pl.DataFrame
    for number, table in files.read_chunks(list(schema), job.chunk_rows, first_missing):
        yield number, table.height, partial(pl.DataFrame, table)


def _score_chunk(job: Job, scorer: BatchScorer, source_name: str, number: int, read_chunk: ReadChunk) -> int:
    return job.score_chunk(scorer, source_name, number, read_chunk())


def _collect_finished(pending: dict[Future[int], int]) -> int:
    """Remove the finished chunks from `pending` and return their rows; wait for at least one."""
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    if any(future.exception() for future in done):
        done, _ = wait(pending)  # so that the error of the lowest chunk is raised, whichever failed first
    return sum(future.result() for future in sorted(done, key=pending.pop))
