"""The engine `ray`: scores the same chunks by Ray Data actors on all machines of a cluster.

Each task reads, scores and writes one chunk. Completed chunks are recorded as by the engine `local`, so either engine
resumes a batch of the other. All machines must see the input, the package and the output at the same path.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from merit.batch.job import Job, ReportProgress
from merit.batch.scorer import BatchScorer
from merit.batch.sources import Chunk, InputFiles
from merit.errors import MeritError, Refused

NAME = "ray"
NEEDS_SEEKABLE_FILES = True


class ChunkActor:
    """Ray Data actor that loads the package once and scores one chunk after another."""

    def __init__(self, files: InputFiles, job: Job, schema: pl.Schema, digest: str) -> None:
        self._files, self._job, self._schema, self._digest = files, job, schema, digest
        self._scorer: BatchScorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the chunks of a batch; return refusals and errors as values, because Ray retries on exceptions."""
        results: dict[str, list[Any]] = {"rows": [], "refused": [], "error": []}
        for encoded_chunk in batch["chunk"].tolist():
            result = {"rows": 0, "refused": "", "error": ""}
            try:
                chunk = msgspec.json.decode(encoded_chunk, type=Chunk)
                rows = self._files.read_chunk(chunk, self._schema)
                result["rows"] = self._job.score_chunk(self._load_scorer(), self._files.name, chunk.number, rows)
            except Refused as error:
                result["refused"] = str(error)
            except MeritError as error:
                result["error"] = str(error)
            for name, value in result.items():
                results[name].append(value)
        return results

    def _load_scorer(self) -> BatchScorer:
        """Return the scorer, loaded once.

        Raises:
            MeritError: this machine has no package or another one at the path of the job.
        """
        if self._scorer is None:
            scorer = self._job.load_scorer(is_text=self._files.is_text)
            if scorer.package.digest != self._digest:
                raise MeritError(f"{self._job.package}: a machine of the cluster finds another package there")
            self._scorer = scorer
        return self._scorer


def score_chunks(files: InputFiles, job: Job, scorer: BatchScorer, report_progress: ReportProgress) -> None:
    """Score each chunk that is not done.

    Raises:
        Refused: rows violate the contract.
        MeritError: Ray is not installed, or its cluster can't be reached.
    """
    chunks = list(files.locate_chunks(job.chunk_rows))
    total_rows = sum(chunk.rows for chunk in chunks)
    missing_chunks = [chunk for chunk in chunks if not job.output.is_done(chunk.number)]
    done_rows = total_rows - sum(chunk.rows for chunk in missing_chunks)
    report_progress(done_rows, total_rows)
    if not missing_chunks:
        return
    with _connect_cluster() as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        schema = scorer.select_schema(files.read_schema())
        scored = ray.data.from_items(
            [{"chunk": msgspec.json.encode(each).decode()} for each in missing_chunks]
        ).map_batches(
            ChunkActor,
            fn_constructor_args=(files, job, schema, scorer.package.digest),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=job.workers),
        )
        for row in scored.iter_rows():
            if row["error"]:
                raise MeritError(row["error"])
            if row["refused"]:
                raise Refused(row["refused"])
            done_rows += row["rows"]
            report_progress(done_rows, total_rows)


@contextmanager
def _connect_cluster() -> Iterator[Any]:
    """Yield Ray, connected to the cluster of RAY_ADDRESS or a new local one; shut down a connection made here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MeritError("engine=ray: Ray is not installed; it comes with 'pip install merit-ml[ray]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started_here = not ray.is_initialized()
    if started_here:
        try:
            with _silence_stderr():  # because its C++ core prints the log level that it read from the environment
                ray.init(
                    include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise MeritError(
                f"engine=ray: the cluster can't be reached: {' '.join(str(error).split())[:200]}"
            ) from error
    try:
        yield ray
    finally:
        if started_here:
            ray.shutdown()


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error; exceptions are still raised."""
    sys.stderr.flush()
    saved_stderr = os.dup(2)
    try:
        with Path(os.devnull).open("w") as null_device:
            os.dup2(null_device.fileno(), 2)
        yield
    finally:
        os.dup2(saved_stderr, 2)
        os.close(saved_stderr)
