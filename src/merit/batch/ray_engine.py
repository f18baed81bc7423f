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

from merit.batch.job import Job, Tell
from merit.batch.scorer import Scorer
from merit.batch.sources import Chunk, Files
from merit.errors import MeritError, Refused


class Worker:
    """Ray Data actor that loads the package once and scores one chunk after another."""

    def __init__(self, files: Files, job: Job, schema: pl.Schema, digest: str) -> None:
        self._files, self._job, self._schema, self._digest = files, job, schema, digest
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the chunks of a batch; return refusals and errors as values, because Ray retries on exceptions."""
        told: dict[str, list[Any]] = {"rows": [], "refused": [], "error": []}
        for text in batch["chunk"].tolist():
            found = {"rows": 0, "refused": "", "error": ""}
            try:
                chunk = msgspec.json.decode(text, type=Chunk)
                rows = self._files.read(chunk, self._schema)
                found["rows"] = self._job.score(self._loaded(), self._files.name, chunk.number, rows)
            except Refused as reason:
                found["refused"] = str(reason)
            except MeritError as reason:
                found["error"] = str(reason)
            for name, value in found.items():
                told[name].append(value)
        return told

    def _loaded(self) -> Scorer:
        """Return the scorer, loaded once.

        Raises:
            MeritError: this machine has no package or another one at the path of the job.
        """
        if self._scorer is None:
            made = self._job.scorer(is_text=self._files.is_text)
            if made.package.digest != self._digest:
                raise MeritError(f"{self._job.package}: a machine of the cluster finds another package there")
            self._scorer = made
        return self._scorer


def run(files: Files, job: Job, scorer: Scorer, tell: Tell) -> None:
    """Score each chunk that is not done.

    Raises:
        Refused: rows violate the contract.
        MeritError: Ray is not installed, or its cluster can't be reached.
    """
    chunks = list(files.pieces(job.chunk_rows))
    total = sum(chunk.rows for chunk in chunks)
    open_ = [chunk for chunk in chunks if not job.output.is_done(chunk.number)]
    done = total - sum(chunk.rows for chunk in open_)
    tell(done, total)
    if not open_:
        return
    with _cluster() as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        schema = scorer.schema(files.schema())
        scored = ray.data.from_items([{"chunk": msgspec.json.encode(each).decode()} for each in open_]).map_batches(
            Worker, fn_constructor_args=(files, job, schema, scorer.package.digest), batch_size=1, batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=job.workers),
        )  # fmt: skip
        for row in scored.iter_rows():
            if row["error"]:
                raise MeritError(row["error"])
            if row["refused"]:
                raise Refused(row["refused"])
            done += row["rows"]
            tell(done, total)


@contextmanager
def _cluster() -> Iterator[Any]:
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
    began = not ray.is_initialized()
    if began:
        try:
            with _without_stderr():  # because its C++ core prints the log level that it read from the environment
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
        if began:
            ray.shutdown()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error; exceptions are still raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
