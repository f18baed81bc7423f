"""The engine `ray`: the same chunks, scored by actors of Ray Data on as many machines as its cluster has.

Each task reads, scores and writes one chunk, so what is done and what is open is known as with the engine `local`, and
either goes on where the other stopped. All machines must see the input, the package and the output at the same place.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from merit.errors import MeritError, Refused
from merit.serving.batch.job import Job, Tell
from merit.serving.batch.scorer import Scorer
from merit.serving.batch.sources import Files, faults

Piece = dict[str, Any]


class Worker:
    """What an actor does: it has the package loaded, and scores one chunk after another."""

    def __init__(self, files: Files, job: Job) -> None:
        self._files, self._job = files, job
        self._scorer = job.scorer(is_text=files.is_text)
        self._columns = self._scorer.read(list(files.schema()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the chunks of a batch; what may not be scored is told, not raised, so that Ray does not try again."""
        told: dict[str, list[Any]] = {"number": [], "rows": [], "refused": [], "error": []}
        for number, pieces in zip(batch["number"].tolist(), batch["pieces"].tolist(), strict=True):
            rows, refused, error = 0, "", ""
            try:
                rows = self._job.score(self._scorer, self._files.name, number, self._read(pieces))
            except Refused as reason:
                refused = str(reason)
            except MeritError as reason:
                error = str(reason)
            for name, value in {"number": number, "rows": rows, "refused": refused, "error": error}.items():
                told[name].append(value)
        return told

    def _read(self, pieces: str) -> pl.DataFrame:
        """Return the rows of a chunk: slices of files, `place:start:rows` each."""
        with faults(self._files.name):
            tables = []
            for piece in pieces.split():
                place, start, rows = map(int, piece.split(":"))
                lazy = self._files.scan([self._files.paths[place]]).select(self._columns)
                tables.append(lazy.slice(start, rows).collect())
            return pl.concat(tables, how="vertical_relaxed").rechunk()


def run(files: Files, job: Job, scorer: Scorer, tell: Tell) -> None:
    """Score each chunk that is open.

    Raises:
        Refused: rows break the contract.
        MeritError: Ray is not installed, or its cluster can't be reached.
    """
    del scorer  # each actor loads its own
    sizes = [files.rows(path) or 0 for path in files.paths]
    total = sum(sizes)
    open_ = [piece for piece in _pieces(sizes, job.chunk_rows) if not job.output.is_done(piece["number"])]
    done = total - sum(piece.pop("rows") for piece in open_)
    tell(done, total)
    if not open_:
        return
    with _cluster() as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        chunks = ray.data.from_items(open_).map_batches(
            Worker, fn_constructor_args=(files, job), batch_size=1, batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=job.workers),
        )  # fmt: skip
        for row in chunks.iter_rows():
            if row["error"]:
                raise MeritError(row["error"])
            if row["refused"]:
                raise Refused(row["refused"])
            done += row["rows"]
            tell(done, total)


def _pieces(sizes: list[int], chunk: int) -> Iterator[Piece]:
    """Give each chunk: its number, its rows, and the slices of the files, of so many rows each, that it is made of."""
    ends: list[int] = []
    for size in sizes:
        ends.append(size + (ends[-1] if ends else 0))
    total, file = (ends[-1] if ends else 0), 0
    for number, start in enumerate(range(0, total, chunk)):
        stop, pieces, at = min(start + chunk, total), [], start
        while at < stop:
            while ends[file] <= at:
                file += 1
            until = min(stop, ends[file])
            pieces.append(f"{file}:{at - (ends[file] - sizes[file])}:{until - at}")
            at = until
        yield {"number": number, "pieces": " ".join(pieces), "rows": stop - start}


@contextmanager
def _cluster() -> Iterator[Any]:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, and end that."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MeritError("engine=ray: Ray is not installed; it comes with 'pip install merit-ml[ray]'") from error
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise MeritError(
                f"engine=ray: the cluster can't be reached: {' '.join(str(error).split())[:200]}"
            ) from error
    try:
        yield ray
    finally:
        if began:
            ray.shutdown()
