"""stream: events from a broker, answered."""

import click

from merit.cli.group import main


@main.command()
def stream() -> None:
    """Answer the events of a broker by the package in model/, until it is told to stop (docs/stream.md)."""
    from merit.cli.releasing import registered_version
    from merit.config import lock
    from merit.serving.stream.run import run

    read = lock.read()
    run(read.stream, registered_version(), read.release.signing, lambda line: click.echo(line, err=True))
