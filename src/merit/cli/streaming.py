"""Command that scores events from a message broker: stream."""

import click

from merit.cli.group import main
from merit.console import logging
from merit.errors import MeritError


@main.command()
@click.argument("words", nargs=-1, metavar="")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port of this worker's metrics  [default: stream.metrics_port].",
)
def stream(words: tuple[str, ...], metrics_port: int | None) -> None:
    """Score events from a message broker with the package in model/, until it is stopped (docs/how-to/stream.md).

    All settings come from params.yaml; `merit compose stream=redis`, for example, selects another broker.
    """
    if words:
        example = " ".join(words) if all("=" in argument for argument in words) else "stream=redis"
        raise MeritError(f"stream: takes no {words[0]!r}: what params.yaml says counts; see `merit compose {example}`")
    from merit import artifacts
    from merit.cli.releasing import find_commit, find_version
    from merit.config.current_lock import read_current_lock
    from merit.stream.worker import run_worker

    project_lock = read_current_lock("stream")
    settings = (
        project_lock.stream
        if metrics_port is None
        else project_lock.stream.model_copy(update={"metrics_port": metrics_port})
    )
    commit = find_commit(artifacts.PACKAGE)
    run_worker(
        settings,
        find_version(artifacts.PACKAGE),
        project_lock.release.signing,
        lambda line: logging.logger.info("%s", line),
        commit,
    )
