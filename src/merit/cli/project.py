"""Commands for projects: new, upgrade, infer."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import logging, output

TASKS, DATE_ORDERS = ("binary", "multiclass", "regression"), ("dmy", "mdy", "ymd")


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", help="The project's name [default: the name of DIR].")
def new(folder: Path, name: str | None) -> None:
    """Create a Git repository in DIR for a model of your own, with merit as a library."""
    from merit.project.new import create_project

    project = create_project(folder, name)
    commit_text = (
        f"first commit {project.commit[:7]}" if project.commit else f"staged; no commit was made: {project.reason}"
    )
    click.echo(f"{project.folder}: {project.files} files, {commit_text}")
    if project.source is not None:
        click.echo(
            f"merit:   installed from {project.source}, as 'git config merit.source' says there; "
            f"in another clone: make demo MERIT={shlex.quote(project.source)}"
        )
    logging.show_line(f"next:    cd {shlex.quote(str(project.folder))} && make demo")


@main.command()
@click.option("--yes", is_flag=True, help="Upgrade without asking.")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if there is something to upgrade.")
def upgrade(yes: bool, check: bool) -> None:
    """Update conf/ and the files of `merit new` to the installed version of merit; show the difference first."""
    from merit.project.upgrade import plan_upgrade

    if yes and check:
        raise click.UsageError("--yes and --check exclude each other")
    upgrade_plan = plan_upgrade()
    for path in upgrade_plan.edited:
        click.echo(f"{path}: kept, for it was edited here; this merit has another")
    if not upgrade_plan.after:
        click.echo("up to date: nothing to upgrade")
        return
    click.echo(
        "".join([upgrade_plan.render_diff(), *(f"why:     {reason}\n" for reason in upgrade_plan.reasons)]), nl=False
    )
    if not yes and (check or not sys.stdin.isatty() or not click.confirm("upgrade?")):
        logging.show_line("next:    'merit upgrade --yes' does it")
        sys.exit(1)
    upgrade_plan.apply()
    click.echo("".join(f"{path} written\n" for path in upgrade_plan.after), nl=False)
    logging.show_line(
        "next:    'make install', then 'merit run'"
        if "requirements.lock" in upgrade_plan.after
        else "next:    'merit run'"
    )


@main.command()
@click.argument("path")
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--time", metavar="COLUMN", help="The column with the time of each row; rows are then split by time.")
@click.option("--task", type=click.Choice(TASKS), help="The kind of prediction [default: guessed from the target].")
@click.option("--dates", type=click.Choice(DATE_ORDERS), help="The order of day, month and year in ambiguous dates.")
@click.option("--name", help="The model's name [default: the name of the file or table].")
@click.option("--query", metavar="SQL", help="SELECT statement of the rows, if PATH is a database's URL.")
@click.option("--table", help="The table to read, if PATH is a database's URL.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@json_option
def infer(path: str, target: str, as_json: bool, **options: Any) -> None:
    """Write a first configuration for the table at PATH: CSV, Parquet, or a database's URL such as sqlite:///shop.db."""
    from merit.data import infer as module
    from merit.data.infer import show

    result = module.infer(path, target, **options)
    output.print_json(show.describe_result(result)) if as_json else show.print_result(result)
