"""Commands for the results of sweeps: sweep list, sweep show, sweep adopt."""

from pathlib import Path

import click

from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import logging, output
from merit.errors import MeritError


@main.group()
def sweep() -> None:
    """Inspect the results of sweeps and adopt a trial; `merit train -m` runs a sweep."""


@sweep.command("list")
@json_option
def list_sweeps(as_json: bool) -> None:
    """List the sweeps in this folder, oldest first, with their number of trials and the best trial."""
    from merit.sweep import record
    from merit.sweep.report import labels

    damage_lines: list[str] = []
    listed = []
    for name in record.list_names():
        try:
            sweep_record = record.read_sweep(name)
        except MeritError as error:
            damage_lines.append(str(error))
            listed.append({"name": name, "error": str(error)})
            if not as_json:
                click.echo(f"{name}  damaged")
            continue
        damage_lines += record.find_damaged(sweep_record.folder).values()
        listed.append(labels.describe_sweep(sweep_record))
        if not as_json:
            click.echo(labels.render_summary(sweep_record))
    if as_json:
        output.print_json(listed)
    if damage_lines:
        raise MeritError("\n".join(damage_lines))


@sweep.command()
@click.argument("name", required=False)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Show the trials of the sweep NAME [default: the newest], best first."""
    from rich.console import Console

    from merit.sweep import record
    from merit.sweep.report import labels, terminal

    sweep_record = record.read_sweep(name or record.find_latest())
    if as_json:
        damaged = record.find_damaged(sweep_record.folder)
        output.print_json({**labels.describe_trials(sweep_record), "damaged": damaged})
        return
    terminal.print_sweep(Console(), sweep_record)
    _print_damage(sweep_record.folder)


@sweep.command()
@click.argument("trial", required=False, type=click.IntRange(min=0))
@click.option("--sweep", "sweep_name", metavar="NAME", help="The sweep [default: the newest].")
@click.option("--name", metavar="EXPERIMENT", help="Name of the experiment [default: derived from the sweep's name].")
@click.option("--branch", is_flag=True, help="Commit the result to a new branch, sweep/EXPERIMENT, and check it out.")
def adopt(trial: int | None, sweep_name: str | None, name: str | None, branch: bool) -> None:
    """Write TRIAL [default: the best] as an experiment of conf/, select it there and update params.yaml."""
    from merit.sweep import record
    from merit.sweep.adopt import adopt as run
    from merit.sweep.report import labels

    sweep_record = record.read_sweep(sweep_name or record.find_latest())
    _print_damage(sweep_record.folder)
    adoption = run(sweep_record, trial, name, branch=branch)
    trial_text = (
        f"trial {adoption.trial.number} of sweep {sweep_record.name}, "
        f"{labels.format_score(sweep_record, adoption.trial)} on the validation "
        "rows"
    )
    click.echo(f"{adoption.files[0]}: {trial_text}")
    result_text = "chosen and locked" if adoption.is_new else "chosen, locked and committed already, so nothing changed"
    click.echo(f"{', '.join(map(str, adoption.files[1:]))}: {result_text}")
    if adoption.commit:
        click.echo(f"{adoption.branch}: commit {adoption.commit[:7]}, checked out")
    if adoption.has_other_code:
        logging.show_line(
            f"note:    the sweep ran at {sweep_record.commit[:7]}, other code is checked out: figures may differ"
        )
    for number, line in enumerate(adoption.list_next_commands()):
        logging.show_line(f"{'next:   ' if number == 0 else '        '} {line}")


def _print_damage(folder: Path) -> None:
    """Print which trials of a sweep are damaged."""
    from merit.sweep import record

    for damage in record.find_damaged(folder).values():
        logging.show_line(f"note:    {damage}")
