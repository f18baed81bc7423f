"""Runs a batch: check whether an earlier run can be resumed, score the missing chunks, and record completion."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl

from merit.batch import lines, output_lock, overlap_check, sources, texts
from merit.batch import output as outputs
from merit.batch.output import Output
from merit.batch.scorer import Scorer, refusal
from merit.batch.sources import Files
from merit.batch.staging import Query, staged
from merit.errors import MeritError, Refused

CHUNK = 65_536
"""Default number of rows per chunk."""
Tell = Callable[[int, int | None], None]
"""Reports progress: the rows done, and the total or None where it is not known."""
Say = Callable[[str], None]
"""Shows a line to the user."""


def _silent(line: str) -> None:
    """Discard a line."""


@dataclass(frozen=True)
class Job:
    """The settings of a batch. It is picklable, because an engine may send it to other processes.

    Attributes:
        package: the folder of the package.
        output: the destination of the scored rows.
        version: its version in the registry, if it has one.
        keep: the input columns to copy into the output; None copies all.
        on_error: on a row that violates the contract, `refuse` stops the batch, `aside` writes it to a separate file.
        chunk_rows: rows per chunk.
        workers: chunks scored at once.
        commit: the Git commit of the package, where it is known.
    """

    package: Path
    output: Output
    version: str | None = None
    keep: tuple[str, ...] | None = None
    on_error: Literal["refuse", "aside"] = "refuse"
    chunk_rows: int = CHUNK
    workers: int = 1
    commit: str | None = None

    def scorer(self, *, is_text: bool) -> Scorer:
        """Load the package and return its scorer."""
        return Scorer(self.package, self.version, self.keep, is_text=is_text, commit=self.commit)

    def score(self, scorer: Scorer, where: str, number: int, rows: pl.DataFrame) -> int:
        """Score a chunk and write it; return its number of rows.

        Args:
            scorer: the scorer of this job's package.
            where: the name of the input, for messages.
            number: the index of the chunk.
            rows: its rows.

        Raises:
            Refused: rows violate the contract, and `on_error` is `refuse`.
        """
        scored = scorer.score(rows, number * self.chunk_rows)
        if scored.rejected.height and self.on_error == "refuse":
            raise refusal(where, scored, is_first=not self.output.has_parts())
        self.output.write(number, scored)
        return rows.height


@dataclass(frozen=True)
class Outcome:
    """The result of a batch, in numbers of rows.

    Attributes:
        rows: scored rows.
        rejected: rows set aside because they violate the contract.
        before: rows that an earlier run had done.
        was_done: whether an earlier run had done all.
    """

    rows: int
    rejected: int
    before: int
    was_done: bool


def predict(
    source: Files | Query, job: Job, *, engine: str = "local", restart: bool = False, tell: Tell, say: Say = _silent
) -> Outcome:
    """Score all rows of a source, or those that an earlier run left.

    Args:
        source: files, or a query.
        job: the settings.
        engine: `local` or `ray`.
        restart: discard the rows of an earlier run instead of resuming.
        tell: reports progress.
        say: shows a line to the user.

    Raises:
        Refused: rows violate the contract, or the existing output was made from another input, package or options.
        MeritError: the input can't be read, the package can't be loaded, or the output can't be written.
    """
    if isinstance(source, Files):
        overlap_check.check(source, job.output)
    is_text = isinstance(source, Files) and source.is_text
    scorer = job.scorer(is_text=is_text)
    with TemporaryDirectory(prefix="merit-predict-") as room:
        if isinstance(source, Files) and is_text:
            source = texts.laid_out(source, scorer.package, Path(room), say)
            lines.check_headers(source)
        return _predict(source, job, scorer, engine, restart=restart, tell=tell, say=say)


def _predict(
    source: Files | Query, job: Job, scorer: Scorer, engine: str, *, restart: bool, tell: Tell, say: Say
) -> Outcome:
    if isinstance(source, Files):
        _check(source, job, scorer)  # before anything is written
    with output_lock.held(job.output) as note:
        asked = _asked(source, job, scorer)
        goes_on = note is not None and not restart and not _is_void(note, asked, job.output)
        if note is not None and goes_on:
            job = _resumed(job, note, asked)
            asked["commit"] = scorer.origin["commit"] = job.commit or scorer.origin["commit"]
            if note.get("finished") and job.output.is_whole(note):
                job.output.tidy()
                return _outcome(note, before=0, was_done=True)
        else:
            _begin(source, job, scorer, asked)
        job.output.tidy()
        before = _told(job, say) if goes_on else 0
        files = _files(source, job, engine)
        _check(files, job, scorer)
        _score(files, job, scorer, engine, tell)
        if isinstance(source, Files) and sources.opened(source.name).identity() != asked["input"]:
            raise Refused(f"{source.name}: changed while it was read; score it again with --restart")
        return _outcome(job.output.finish({**asked, "chunk_rows": job.chunk_rows}), before=before, was_done=False)


def _outcome(note: dict[str, Any], *, before: int, was_done: bool) -> Outcome:
    return Outcome(sum(note["parts"]), sum(note["aside"].values()), before, was_done)


def _asked(source: Files | Query, job: Job, scorer: Scorer) -> dict[str, Any]:
    return {
        "form": outputs.FORM,
        "input": source.identity(),
        "package": scorer.package.digest,
        "version": job.version,
        "keep": None if job.keep is None else list(job.keep),
        "commit": scorer.origin["commit"],
    }


def _is_void(note: dict[str, Any], asked: dict[str, Any], output: Output) -> bool:
    """Return whether a note can be ignored: no row was scored, or the user removed the output file."""
    if output.has_parts():
        return False
    if note.get("finished"):
        return output.is_file and not output.path.exists() and not outputs.numbers(output.rejected)
    return bool(outputs.changed(note, asked)) or not (output.folder / outputs.STAGED).is_dir()


def _begin(source: Files | Query, job: Job, scorer: Scorer, asked: dict[str, Any]) -> None:
    """Start a new batch: write its note and remove the earlier output, once the input is known to be readable.

    Raises:
        MeritError: the input can't be read; the earlier output is unchanged.
    """
    if isinstance(source, Files) and source.is_text:
        lines.check(source)
    anew = job.output.folder / outputs.STAGED_ANEW
    is_query_anew = isinstance(source, Query) and job.output.has_note()
    if is_query_anew:
        _check(staged(source, anew, job.chunk_rows), job, scorer)
    if job.output.has_note():
        job.output.clear()
    job.output.begin({**asked, "chunk_rows": job.chunk_rows})
    if is_query_anew:
        anew.rename(job.output.folder / outputs.STAGED)


def _resumed(job: Job, note: dict[str, Any], asked: dict[str, Any]) -> Job:
    """Return the job with the chunk size and the commit of the run that it resumes.

    Raises:
        Refused: the existing output was made from another input, package or options.
    """
    if differs := outputs.changed(note, asked):
        raise Refused(
            f"{job.output.path}: can't be resumed: {differs}; --restart scores all anew, or give another place"
        )
    return replace(job, chunk_rows=int(note["chunk_rows"]), commit=note.get("commit", job.commit))


def _told(job: Job, say: Say) -> int:
    """Report that this run resumes an earlier one; return the rows that are done."""
    done = job.output.scored()
    say(f"{job.output.path}: goes on after {done:,} rows, in chunks of {job.chunk_rows:,}, as it was begun")
    return done


def _check(files: Files, job: Job, scorer: Scorer) -> None:
    """Refuse an input whose columns can't be scored, or can't be written in the format of the output."""
    schema = files.schema()
    scorer.check(schema, files.name)
    kept = schema if job.keep is None else pl.Schema({name: schema[name] for name in job.keep})
    outputs.check_columns(job.output, kept)


def _files(source: Files | Query, job: Job, engine: str) -> Files:
    """Return the input as files; a query, or text that Ray can't read from the middle, is written to Parquet first."""
    if isinstance(source, Query) or (engine == "ray" and source.is_text):
        return staged(source, job.output.folder / outputs.STAGED, job.chunk_rows)
    return source


def _score(files: Files, job: Job, scorer: Scorer, engine: str, tell: Tell) -> None:
    if engine == "ray":
        from merit.batch import ray_engine

        ray_engine.run(files, job, scorer, tell)
    else:
        from merit.batch import local_engine

        local_engine.run(files, job, scorer, tell)
    if job.output.first_open() == 0:  # an input without rows still gets one part, with its columns
        job.output.write(0, scorer.score(pl.DataFrame(schema=scorer.schema(files.schema())), 0))


def source_of(text: str, query: str | None, variable: str | None) -> Files | Query:
    """Return the source that the arguments of `merit predict` name.

    Args:
        text: the argument IN: a path, a pattern, an address in S3, or `sql`.
        query: the option --query.
        variable: the option --url-env.

    Raises:
        MeritError: the source is missing, has an unsupported format, or the options don't fit it.
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
