"""Commands for the results of sweeps: sweep list, sweep show, sweep adopt."""

from pathlib import Path

import click

from merit.cli.group import main
from merit.errors import MeritError


@main.group()
def sweep() -> None:
    """Inspect the results of sweeps and adopt a trial; `merit train -m` runs a sweep."""


@sweep.command("list")
def list_them() -> None:
    """List the sweeps in this folder, oldest first, with their number of trials and the best trial."""
    from merit.sweep import labels, record

    faults: list[str] = []
    for name in record.list_names():
        try:
            found = record.read_sweep(name)
        except MeritError as error:
            faults.append(str(error))
            click.echo(f"{name}  damaged")
            continue
        faults += record.find_damaged(found.folder).values()
        ended = sum(trial.state in record.FINAL_STATES for trial in found.trials)
        best = found.find_best()
        told = "" if best is None else f"  trial {best.number}: {labels.format_score(found, best)}"
        click.echo(f"{name}  {ended} of {found.planned or '?'} trials{told}")
    if faults:
        raise MeritError("\n".join(faults))


@sweep.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Show the trials of the sweep NAME [default: the newest], best first."""
    from rich.console import Console

    from merit.sweep import record, view

    found = record.read_sweep(name or record.find_latest())
    view.print_sweep(Console(), found)
    _note_damage(found.folder)


@sweep.command()
@click.argument("trial", required=False, type=click.IntRange(min=0))
@click.option("--sweep", "of", metavar="NAME", help="The sweep [default: the newest].")
@click.option("--name", metavar="EXPERIMENT", help="Name of the experiment [default: derived from the sweep's name].")
@click.option("--branch", is_flag=True, help="Commit the result to a new branch, sweep/EXPERIMENT, and check it out.")
def adopt(trial: int | None, of: str | None, name: str | None, branch: bool) -> None:
    """Write TRIAL [default: the best] as an experiment of conf/, select it there and update params.yaml."""
    from merit.sweep import labels, record
    from merit.sweep.adopt import adopt as run

    found = record.read_sweep(of or record.find_latest())
    _note_damage(found.folder)
    made = run(found, trial, name, branch=branch)
    told = (
        f"trial {made.trial.number} of sweep {found.name}, {labels.format_score(found, made.trial)} on the validation "
        "rows"
    )
    click.echo(f"{made.files[0]}: {told}")
    done = "chosen and locked" if made.is_new else "chosen, locked and committed already, so nothing changed"
    click.echo(f"{', '.join(map(str, made.files[1:]))}: {done}")
    if made.commit:
        click.echo(f"{made.branch}: commit {made.commit[:7]}, checked out")
    if made.has_other_code:
        click.echo(f"note:    the sweep ran at {found.commit[:7]}, other code is checked out: figures may differ")
    for number, line in enumerate(made.list_next_commands()):
        click.echo(f"{'next:   ' if number == 0 else '        '} {line}")


def _note_damage(folder: Path) -> None:
    """Print which trials of a sweep are damaged."""
    from merit.sweep import record

    for told in record.find_damaged(folder).values():
        click.echo(f"note:    {told}")
