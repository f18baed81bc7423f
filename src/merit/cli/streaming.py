"""stream: events from a broker, answered."""

import click

from merit.cli.group import main
from merit.errors import MeritError


@main.command()
@click.argument("words", nargs=-1, metavar="")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Where this worker shows its metrics  [default: stream.metrics_port].",
)
def stream(words: tuple[str, ...], metrics_port: int | None) -> None:
    """Answer the events of a broker by the package in model/, until it is told to stop (docs/stream.md).

    Which broker, and all else, params.yaml says; `merit compose stream=redis` changes it there.
    """
    if words:
        told = " ".join(words) if all("=" in word for word in words) else "stream=redis"
        raise MeritError(f"stream: takes no {words[0]!r}: what params.yaml says counts; see `merit compose {told}`")
    from merit import artifacts
    from merit.cli.releasing import commit_of, version_of
    from merit.config import lock
    from merit.stream.run import run_worker

    read = lock.read_current_lock("stream")
    how = read.stream if metrics_port is None else read.stream.model_copy(update={"metrics_port": metrics_port})
    commit = commit_of(artifacts.PACKAGE)
    run_worker(
        how, version_of(artifacts.PACKAGE), read.release.signing, lambda line: click.echo(line, err=True), commit
    )
