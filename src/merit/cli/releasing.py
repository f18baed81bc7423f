"""register, serve: what has passed."""

import click

from merit import artifacts
from merit.cli.group import main


@main.command()
def register() -> None:
    """Judge the package and, if it passes, register it as a version of the model."""
    from merit.config import lock
    from merit.gate import judge
    from merit.registry.versions import register as run
    from merit.tracking.runs import record

    read = lock.read()
    report = judge.gate(read)
    click.echo(f"{read.name} version {run(read, record(read), report)}")


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Listen here instead of on serve.port.")
def serve(port: int | None) -> None:
    """Start the endpoint over model/; it listens on loopback."""
    from merit.config import lock
    from merit.serving.serve import serve as run

    how = lock.read().serve
    run(how if port is None else how.model_copy(update={"port": port}), _registered_version())


def _registered_version() -> str | None:
    """Return the registered version of the package in model/, if `merit run` registered this very one."""
    if not artifacts.REGISTRATION.is_file():
        return None
    receipt = artifacts.read_json(artifacts.REGISTRATION, "register")
    return receipt.get("version") if receipt.get("package") == artifacts.package_digest(artifacts.PACKAGE) else None
