"""Command that scores tables: predict."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from merit import artifacts
from merit.cli.group import main
from merit.config.extensions import list_names
from merit.console import logging
from merit.errors import MeritError
from merit.process.cores import count_cores

if TYPE_CHECKING:
    from merit.batch.job import ReportProgress
    from merit.batch.output import Output
    from merit.batch.predict import BatchResult

ENGINES = list_names("merit.batch.engines", first=("local",))
INTERRUPTED_EXIT_CODE = 130
"""Exit code after Ctrl+C."""


@main.command()
@click.argument("source", metavar="IN")
@click.argument("place", metavar="OUT")
@click.argument("words", nargs=-1, metavar=f"[engine={'|'.join(ENGINES)}]")
@click.option("--query", help="SELECT statement of the rows; IN must be 'sql'.")
@click.option("--url-env", metavar="NAME", help="Environment variable that contains the database's URL.")
@click.option("--package", type=click.Path(path_type=Path), help="Folder of the model package  [default: model].")
@click.option("--version", "version", metavar="NAME", help="Score with a registered version, such as flights@v3.")
@click.option("--keep", metavar="COLUMN,...", help="Input columns to copy to the output  [default: all].")
@click.option(
    "--on-error",
    type=click.Choice(["refuse", "aside"]),
    default="refuse",
    show_default=True,
    help="Rows that violate the contract: refuse stops the run, aside sets them apart (OUT/_rejected or OUT.rejected).",
)
@click.option("--chunk-rows", type=click.IntRange(1), help="Rows per chunk.")
@click.option("--workers", type=click.IntRange(1), help="Chunks scored in parallel  [default: one per processor].")
@click.option("--restart", is_flag=True, help="Score all rows again, also those that are finished.")
def predict(
    *, source: str, place: str, words: tuple[str, ...], query: str | None, url_env: str | None, package: Path | None,
    version: str | None, keep: str | None, on_error: Literal["refuse", "aside"], chunk_rows: int | None,
    workers: int | None, restart: bool,
) -> None:  # fmt: skip
    """Score the rows of IN and write them to OUT; a killed run resumes where it stopped.

    IN: a Parquet or CSV file, a folder or glob pattern of such files, s3://bucket/prefix/, or sql. OUT: a folder for
    Parquet files, or one .parquet or .csv file. Each output row contains the model's version and commit.
    """
    engine = _parse_engine(words)
    from merit.batch import output
    from merit.batch import predict as batch
    from merit.batch.job import DEFAULT_CHUNK_ROWS, Job

    rows = batch.open_source(source, query, url_env)
    with _open_package(package, version) as (folder, name, commit), _show_progress() as report_progress:
        job = Job(
            folder,
            output.parse_output(place),
            name,
            tuple(filter(None, keep.split(","))) if keep is not None else None,
            on_error,
            chunk_rows or DEFAULT_CHUNK_ROWS,
            workers or count_cores(),
            commit,
        )
        with _report_interruption(job.output):
            outcome = batch.predict(
                rows, job, engine=engine, restart=restart, report_progress=report_progress, show_line=_print_line
            )
    click.echo(f"{place}: {_describe_outcome(outcome, job.output)}")


def _describe_outcome(outcome: "BatchResult", output: "Output") -> str:
    """Return the summary of a batch run."""
    rejected_text = f", {outcome.rejected_rows:,} set aside in {output.rejected}" if outcome.rejected_rows else ""
    earlier_text = f", {outcome.resumed_rows:,} of them before" if outcome.resumed_rows else ""
    done_text = " (done before)" if outcome.was_complete else ""
    return f"{outcome.scored_rows:,} rows scored{rejected_text}{earlier_text}{done_text}"


def _print_line(line: str) -> None:
    logging.logger.info("%s", line)


@contextmanager
def _report_interruption(output: "Output") -> Iterator[None]:
    """Print on Ctrl+C which results are kept."""
    try:
        yield
    except KeyboardInterrupt:
        kept_text = (
            f"the parts that are finished are kept in {output.folder}" if output.has_parts() else "no row was scored"
        )
        logging.logger.warning("interrupted: %s; run the same command to go on", kept_text)
        click.get_current_context().exit(INTERRUPTED_EXIT_CODE)


def _parse_engine(arguments: tuple[str, ...]) -> str:
    """Return the engine that the arguments after OUT choose."""
    engine = "local"
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key != "engine" or value not in ENGINES:
            raise click.UsageError(f"found '{argument}'; allowed: engine={' or engine='.join(ENGINES)}")
        engine = value
    return engine


@contextmanager
def _open_package(folder: Path | None, version: str | None) -> "Iterator[tuple[Path, str | None, str | None]]":
    """Yield the package's folder, once its signature is verified, with its version and commit."""
    from merit.cli.releasing import find_commit, find_version
    from merit.config import lock
    from merit.config.schema.release import Signing
    from merit.serving.server.serve import check_signature

    signing = lock.read_lock().release.signing if artifacts.LOCK.is_file() else Signing()
    if version is None:
        package_folder = folder or artifacts.PACKAGE
        check_signature(package_folder, signing)
        yield package_folder.absolute(), find_version(package_folder), find_commit(package_folder)
        return
    if folder is not None:
        raise MeritError("--version and --package: give one of them")
    from merit.registry import tags

    registered = tags.find_version(tags.require_own_name(lock.read_lock().name, version))
    with tempfile.TemporaryDirectory(prefix="merit-predict-") as temporary_folder:
        package_path = Path(temporary_folder) / artifacts.PACKAGE.name
        tags.fetch_package(registered, package_path)
        check_signature(package_path, signing)
        yield package_path, registered.short_name, registered.commit


@contextmanager
def _show_progress() -> "Iterator[ReportProgress]":
    """Yield a function that shows progress: a progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or logging.is_quiet():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rows", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
