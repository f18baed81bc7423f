"""A whole batch: hold the output to what it was begun from, score what is open, and note that all is done."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from merit.errors import MeritError, Refused
from merit.serving.batch import output as outputs
from merit.serving.batch import sources
from merit.serving.batch.output import Output
from merit.serving.batch.scorer import Scorer, refusal
from merit.serving.batch.sources import Files
from merit.serving.batch.staging import Query, staged

CHUNK = 65_536
"""Rows of a chunk, unless a person says otherwise."""
Tell = Callable[[int, int | None], None]
"""Is told how many rows are done, and of how many, where that is known."""


@dataclass(frozen=True)
class Job:
    """What is to be done to each chunk; it can be sent to another process.

    Attributes:
        package: the folder of the package.
        version: its version in the registry, if it has one.
        keep: the columns that are carried over; None: all.
        on_error: what becomes of rows that break the contract: nothing more is scored, or they are set aside.
        workers: chunks in work at once.
    """

    package: Path
    output: Output
    version: str | None = None
    keep: tuple[str, ...] | None = None
    on_error: Literal["refuse", "aside"] = "refuse"
    chunk_rows: int = CHUNK
    workers: int = 1

    def scorer(self, *, is_text: bool) -> Scorer:
        """Load the package."""
        return Scorer(self.package, self.version, self.keep, is_text=is_text)

    def score(self, scorer: Scorer, where: str, number: int, rows: pl.DataFrame) -> int:
        """Score a chunk and keep it; return its rows.

        Raises:
            Refused: rows break the contract, and are not to be set aside.
        """
        scored = scorer.score(rows, number * self.chunk_rows)
        if scored.rejected.height and self.on_error == "refuse":
            raise refusal(where, scored)
        self.output.write(number, scored)
        return rows.height


@dataclass(frozen=True)
class Outcome:
    """What a batch came to: the rows that are scored, those set aside, and whether it was all done before."""

    rows: int
    rejected: int
    was_done: bool


def predict(source: Files | Query, job: Job, *, engine: str = "local", restart: bool = False, tell: Tell) -> Outcome:
    """Score all rows of a source.

    Raises:
        Refused: rows break the contract, or what is there was made from something else.
        MeritError: the input can't be read, the package not loaded, the output not written.
    """
    _check_apart(source, job.output)
    scorer = job.scorer(is_text=isinstance(source, Files) and source.is_text)
    with job.output.held():
        if restart:
            job.output.clear()
        note = job.output.note()
        asked = _asked(source, job, scorer)
        job = _resumed(job, note, asked)
        if note is not None and note.get("finished"):
            return Outcome(note["rows"], note["rejected"], was_done=True)
        if note is None:
            _check(source, scorer)
            job.output.begin({**asked, "chunk_rows": job.chunk_rows})
        job.output.tidy()
        files = _files(source, job, engine)
        scorer.check(files.schema(), files.name)
        _score(files, job, scorer, engine, tell)
        if isinstance(source, Files) and sources.opened(source.name).identity() != asked["input"]:
            raise Refused(f"{source.name}: changed while it was read; score it again with --restart")
        rows, rejected = job.output.counts()
        job.output.finish({**asked, "chunk_rows": job.chunk_rows, "rows": rows, "rejected": rejected, "finished": True})
        return Outcome(rows, rejected, was_done=False)


def _asked(source: Files | Query, job: Job, scorer: Scorer) -> dict[str, Any]:
    return {
        "form": 1,
        "input": source.identity(),
        "package": scorer.package.digest,
        "version": job.version,
        "keep": None if job.keep is None else list(job.keep),
    }


def _resumed(job: Job, note: dict[str, Any] | None, asked: dict[str, Any]) -> Job:
    """Return the job with the chunks that it was begun with.

    Raises:
        Refused: what is there was made from something else.
    """
    if note is None:
        return job
    if differs := outputs.changed(note, asked):
        raise Refused(
            f"{job.output.path}: was begun from something else: {differs}; --restart scores all anew, "
            "or give another place"
        )
    return Job(**{**job.__dict__, "chunk_rows": int(note["chunk_rows"])})


def _check(source: Files | Query, scorer: Scorer) -> None:
    """Refuse an input that can't be scored before anything is written."""
    if isinstance(source, Files):
        scorer.check(source.schema(), source.name)


def _check_apart(source: Files | Query, output: Output) -> None:
    """Refuse to write among what is read."""
    if not isinstance(source, Files) or source.storage or source.name.startswith("s3://"):
        return
    root, place = Path(source.name).absolute(), output.path.absolute()
    if place == root or root in place.parents or place in (Path(path).absolute() for path in source.paths):
        raise MeritError(f"{output.path}: lies in the input {source.name}; give another place")


def _files(source: Files | Query, job: Job, engine: str) -> Files:
    """Return the input as files; those that can't be entered in their middle are rewritten for Ray."""
    if isinstance(source, Query) or (engine == "ray" and source.is_text):
        return staged(source, job.output.folder / outputs.STAGED, job.chunk_rows)
    return source


def _score(files: Files, job: Job, scorer: Scorer, engine: str, tell: Tell) -> None:
    if engine == "ray":
        from merit.serving.batch import on_ray

        on_ray.run(files, job, scorer, tell)
    else:
        from merit.serving.batch import local

        local.run(files, job, scorer, tell)
    if job.output.first_open() == 0:  # an input without rows has a part as well: its columns
        job.output.write(0, scorer.score(pl.DataFrame(schema=scorer.schema(files.schema())), 0))


def source_of(text: str, query: str | None, variable: str | None) -> Files | Query:
    """Return what a person names.

    Raises:
        MeritError: it is not there, or nothing that is read.
    """
    if text != "sql":
        if query or variable:
            raise MeritError(f"IN: found '{text}'; --query and --url-env are for IN 'sql'")
        return sources.opened(text)
    if not query or not variable:
        raise MeritError("IN: 'sql' needs --query, and --url-env with the name of the variable that holds the URL")
    return Query(query, variable)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
