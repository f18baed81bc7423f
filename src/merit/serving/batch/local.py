"""The engine `local`: chunks are read in order, and scored and written by a few threads.

Polars and ONNX Runtime let go of Python's lock while they work, so threads are enough. Each run of the graph has one
thread, as in the endpoint. No more chunks wait than threads work.
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from merit.serving.batch.job import Job, Tell
from merit.serving.batch.scorer import Scorer
from merit.serving.batch.sources import Files


def run(files: Files, job: Job, scorer: Scorer, tell: Tell) -> None:
    """Score each chunk that is open.

    Raises:
        Refused: rows break the contract; of several such chunks the first is told.
    """
    total = files.rows()
    first = job.output.first_open()
    done = first * job.chunk_rows
    tell(done, total)
    waiting: dict[Future[int], int] = {}
    with ThreadPoolExecutor(job.workers, "merit-predict") as pool:
        try:
            for number, rows in files.chunks(scorer.read(list(files.schema())), job.chunk_rows, first):
                if job.output.is_done(number):
                    done += rows.height
                    continue
                waiting[pool.submit(job.score, scorer, files.name, number, rows)] = number
                while len(waiting) > job.workers:
                    done += _finished(waiting)
                    tell(done, total)
            while waiting:
                done += _finished(waiting)
                tell(done, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: dict[Future[int], int]) -> int:
    """Return the rows of the chunks that have been scored by now; wait for one at least."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    if any(future.exception() for future in done):
        done, _ = wait(waiting)  # so that the first of those that fail is told, whichever was quickest
    return sum(future.result() for future in sorted(done, key=waiting.pop))
