"""Runs a batch: check whether an earlier run can be resumed, score the missing chunks, and record completion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from merit.batch import csv_dialect, csv_structure, output_lock, overlap_check, sources
from merit.batch import output as outputs
from merit.batch.engines.interface import Engine
from merit.batch.engines.registry import find_engine
from merit.batch.job import Job, ReportProgress
from merit.batch.output import Output
from merit.batch.scorer import BatchScorer
from merit.batch.sources import InputFiles
from merit.batch.staging import DatabaseQuery, stage_rows
from merit.errors import MeritError, Refused

ShowLine = Callable[[str], None]
"""Shows a line to the user."""


def _discard_line(line: str) -> None:
    """Discard a line."""


@dataclass(frozen=True)
class BatchResult:
    """The result of a batch, in numbers of rows.

    Attributes:
        scored_rows: scored rows.
        rejected_rows: rows set aside because they violate the contract.
        resumed_rows: rows that an earlier run had done.
        was_complete: whether an earlier run had done all.
    """

    scored_rows: int
    rejected_rows: int
    resumed_rows: int
    was_complete: bool


def predict(
    source: InputFiles | DatabaseQuery,
    job: Job,
    *,
    engine: str = "local",
    restart: bool = False,
    report_progress: ReportProgress,
    show_line: ShowLine = _discard_line,
) -> BatchResult:
    """Score all rows of a source, or those that an earlier run left.

    Args:
        source: files, or a query.
        job: the settings.
        engine: the name of an engine.
        restart: discard the rows of an earlier run instead of resuming.
        report_progress: reports progress.
        show_line: shows a line to the user.

    Raises:
        Refused: rows violate the contract, or the existing output was made from another input, package or options.
        MeritError: the input can't be read, the package can't be loaded, or the output can't be written.
    """
    if isinstance(source, InputFiles):
        overlap_check.check_overlap(source, job.output)
    is_text = isinstance(source, InputFiles) and source.is_text
    scorer = job.load_scorer(is_text=is_text)
    with TemporaryDirectory(prefix="merit-predict-") as temporary_folder:
        if isinstance(source, InputFiles) and is_text:
            source = csv_dialect.detect_dialect(source, scorer.package, Path(temporary_folder), show_line)
            csv_structure.check_headers(source)
        return _run_batch(
            source,
            job,
            scorer,
            find_engine(engine),
            restart=restart,
            report_progress=report_progress,
            show_line=show_line,
        )


def _run_batch(
    source: InputFiles | DatabaseQuery,
    job: Job,
    scorer: BatchScorer,
    engine: Engine,
    *,
    restart: bool,
    report_progress: ReportProgress,
    show_line: ShowLine,
) -> BatchResult:
    if isinstance(source, InputFiles):
        _check_columns(source, job, scorer)  # before anything is written
    with output_lock.lock_output(job.output) as note:
        request = _describe_request(source, job, scorer)
        is_resumed = note is not None and not restart and not _is_obsolete(note, request, job.output)
        if note is not None and is_resumed:
            job = _resume_job(job, note, request)
            request["commit"] = scorer.origin["commit"] = job.commit or scorer.origin["commit"]
            if note.get("finished") and job.output.check_complete(note):
                job.output.remove_leftovers()
                return _create_result(note, resumed_rows=0, was_complete=True)
        else:
            _start_batch(source, job, scorer, request)
        job.output.remove_leftovers()
        resumed_rows = _report_resume(job, show_line) if is_resumed else 0
        files = _stage_files(source, job, engine)
        _check_columns(files, job, scorer)
        _score_chunks(files, job, scorer, engine, report_progress)
        if isinstance(source, InputFiles) and sources.open_files(source.name).get_identity() != request["input"]:
            raise Refused(f"{source.name}: changed while it was read; score it again with --restart")
        return _create_result(
            job.output.finish({**request, "chunk_rows": job.chunk_rows}), resumed_rows=resumed_rows, was_complete=False
        )


def _create_result(note: dict[str, Any], *, resumed_rows: int, was_complete: bool) -> BatchResult:
    return BatchResult(sum(note["parts"]), sum(note["aside"].values()), resumed_rows, was_complete)


def _describe_request(source: InputFiles | DatabaseQuery, job: Job, scorer: BatchScorer) -> dict[str, Any]:
    return {
        "form": outputs.NOTE_VERSION,
        "input": source.get_identity(),
        "package": scorer.package.digest,
        "version": job.version,
        "keep": None if job.keep is None else list(job.keep),
        "commit": scorer.origin["commit"],
    }


def _is_obsolete(note: dict[str, Any], request: dict[str, Any], output: Output) -> bool:
    """Return whether a note can be ignored: no row was scored, or the user removed the output file."""
    if output.has_parts():
        return False
    if note.get("finished"):
        return output.is_file and not output.path.exists() and not outputs.list_part_numbers(output.rejected)
    return bool(outputs.describe_difference(note, request)) or not (output.folder / outputs.STAGED_NAME).is_dir()


def _start_batch(source: InputFiles | DatabaseQuery, job: Job, scorer: BatchScorer, request: dict[str, Any]) -> None:
    """Start a new batch: write its note and remove the earlier output, once the input is known to be readable.

    Raises:
        MeritError: the input can't be read; the earlier output is unchanged.
    """
    if isinstance(source, InputFiles) and source.is_text:
        csv_structure.check_lines(source)
    restart_folder = job.output.folder / outputs.RESTAGED_NAME
    is_query_restart = isinstance(source, DatabaseQuery) and job.output.has_note()
    if is_query_restart:
        _check_columns(stage_rows(source, restart_folder, job.chunk_rows), job, scorer)
    if job.output.has_note():
        job.output.remove_results()
    job.output.write_note({**request, "chunk_rows": job.chunk_rows})
    if is_query_restart:
        restart_folder.rename(job.output.folder / outputs.STAGED_NAME)


def _resume_job(job: Job, note: dict[str, Any], request: dict[str, Any]) -> Job:
    """Return the job with the chunk size and the commit of the run that it resumes.

    Raises:
        Refused: the existing output was made from another input, package or options.
    """
    if difference := outputs.describe_difference(note, request):
        raise Refused(
            f"{job.output.path}: can't be resumed: {difference}; --restart scores all rows again, or give another place"
        )
    return replace(job, chunk_rows=int(note["chunk_rows"]), commit=note.get("commit", job.commit))


def _report_resume(job: Job, show_line: ShowLine) -> int:
    """Report that this run resumes an earlier one; return the rows that are done."""
    done_rows = job.output.count_done_rows()
    show_line(f"{job.output.path}: goes on after {done_rows:,} rows, in chunks of {job.chunk_rows:,}, as it was begun")
    return done_rows


def _check_columns(files: InputFiles, job: Job, scorer: BatchScorer) -> None:
    """Refuse an input whose columns can't be scored, or can't be written in the format of the output."""
    schema = files.read_schema()
    scorer.check_columns(schema, files.name)
    output_columns = schema if job.keep is None else pl.Schema({name: schema[name] for name in job.keep})
    outputs.check_columns(job.output, output_columns)


def _stage_files(source: InputFiles | DatabaseQuery, job: Job, engine: Engine) -> InputFiles:
    """Return the input as files; a query, or text that must be read from the middle, becomes Parquet."""
    if isinstance(source, DatabaseQuery) or (engine.NEEDS_SEEKABLE_FILES and source.is_text):
        return stage_rows(source, job.output.folder / outputs.STAGED_NAME, job.chunk_rows)
    return source


def _score_chunks(
    files: InputFiles, job: Job, scorer: BatchScorer, engine: Engine, report_progress: ReportProgress
) -> None:
    engine.score_chunks(files, job, scorer, report_progress)
    if job.output.find_first_missing() == 0:  # an input without rows still gets one part, with its columns
        job.output.write_chunk(0, scorer.score_chunk(pl.DataFrame(schema=scorer.select_schema(files.read_schema())), 0))


def open_source(location: str, query: str | None, url_variable: str | None) -> InputFiles | DatabaseQuery:
    """Return the source that the arguments of `merit predict` name.

    Args:
        location: the argument IN: a path, a pattern, an address in S3, or `sql`.
        query: the option --query.
        url_variable: the option --url-env.

    Raises:
        MeritError: the source is missing, has an unsupported format, or the options don't fit it.
    """
    if location != "sql":
        if query or url_variable:
            raise MeritError(f"IN: found '{location}'; --query and --url-env are for IN 'sql'")
        return sources.open_files(location)
    if not query or not url_variable:
        raise MeritError("IN: 'sql' needs --query, and --url-env with the name of the variable that holds the URL")
    return DatabaseQuery(query, url_variable)
