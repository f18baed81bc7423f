"""sweep: what sweeps found, and the way from a trial to a pull request."""

import click

from merit.cli.group import main


@main.group()
def sweep() -> None:
    """What sweeps found; `merit train -m` makes one."""


@sweep.command()
@click.argument("trial", required=False, type=click.IntRange(min=0))
@click.option("--sweep", "of", metavar="NAME", help="The sweep [default: the newest].")
@click.option("--name", metavar="EXPERIMENT", help="The experiment that is written [default: by the sweep's name].")
@click.option("--branch", is_flag=True, help="Commit it to a new branch, sweep/EXPERIMENT, and check that out.")
def adopt(trial: int | None, of: str | None, name: str | None, branch: bool) -> None:
    """Write TRIAL, by default the best, as an experiment of conf/, choose it and lock it."""
    from merit.sweep import record, words
    from merit.sweep.adopt import adopt as run

    found = record.read(of or record.latest())
    made = run(found, trial, name, branch=branch)
    told = f"trial {made.trial.number} of sweep {found.name}, {words.score(found, made.trial)} on the validation rows"
    click.echo(f"{made.files[0]}: {told}")
    click.echo(f"{', '.join(map(str, made.files[1:]))}: chosen and locked")
    if made.commit:
        click.echo(f"{made.branch}: commit {made.commit[:7]}, checked out")
    if made.moved:
        click.echo(f"note:    the sweep ran at {found.commit[:7]}, other code is checked out: figures may differ")
    for number, line in enumerate(made.following()):
        click.echo(f"{'next:   ' if number == 0 else '        '} {line}")
