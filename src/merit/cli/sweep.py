"""sweep: what sweeps found, and the way from a trial to a pull request."""

from collections.abc import Iterable, Mapping

import click

from merit.cli.group import main


@main.group()
def sweep() -> None:
    """What sweeps found; `merit train -m` makes one."""


@sweep.command("list")
def list_them() -> None:
    """List the sweeps that are here, the oldest first: how many trials, and the best."""
    from merit.sweep import record

    for name in record.names():
        found = record.read(name)
        ended = sum(trial.state in record.FINAL for trial in found.trials)
        best = found.best()
        told = " ".join(
            f"{metric} {best.values[metric]:.4f} (trial {best.number})" for metric in found.objectives if best
        )
        click.echo(f"{name}  {ended} of {found.planned} trials  {told}".rstrip())


def _values(metrics: Iterable[str], values: Mapping[str, float]) -> str:
    return " ".join(f"{metric} {values[metric]:.4f}" for metric in metrics)


@sweep.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Show the trials of the sweep NAME, by default the newest, the best first."""
    from rich.console import Console

    from merit.sweep import record, view

    view.show(Console(), record.read(name or record.latest()))
