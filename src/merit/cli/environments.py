"""Commands for environments: promote, plan, apply, status."""

import json
import sys

import click

from merit.cli.group import main

as_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@main.command()
@click.argument("source", metavar="SOURCE")
@click.argument("environment")
def promote(source: str, environment: str) -> None:
    """Write the version and image of SOURCE (an environment, or a version such as v3) to ENVIRONMENT's file."""
    from merit.config import lock
    from merit.deploy import promote as room

    made = room.promote(source, environment, lock.read_lock())
    for key, (former, value) in made.changes.items():
        click.echo(f"{made.declared.file.path}: {key}: {former or 'null'} -> {value or 'null'}")
    if not made.changes:
        click.echo(f"{made.declared.file.path} declares {made.version} already")
        return
    click.echo("next:    " + "\n         ".join(room.list_next_commands(made)))


@main.command()
@click.argument("environment")
@as_json
def plan(environment: str, as_json: bool) -> None:
    """Show what apply would change in ENVIRONMENT, as a diff; exit 0 if nothing, 1 if something, 2 if not allowed."""
    from merit.config import lock
    from merit.deploy import plan as room

    made = room.plan(environment, lock.read_lock())
    click.echo(
        json.dumps(room.as_json(made), indent=2, ensure_ascii=False) if as_json else "\n".join(room.render_lines(made))
    )
    sys.exit(int(made.differs))


@main.command()
@click.argument("environment")
def apply(environment: str) -> None:
    """Deploy to ENVIRONMENT what main declares and record it as a tag; exit 0 even if only MLflow wasn't updated."""
    from merit.config import lock
    from merit.deploy import apply as room
    from merit.serving.smoke import check_example

    made = room.apply(environment, lock.read_lock(), check_example)
    for line in made.actions:
        click.echo(line)
    nothing = "no difference" if made.remaining is None else "what serves is as declared"
    click.echo(f"{environment}: {nothing}" if made.record_tag is None else f"recorded as {made.record_tag}")
    if made.address is not None:
        click.echo(f"call:    {made.address}")
    if made.remaining is not None:
        click.echo(f"left:    {made.remaining}", err=True)


@main.command()
@as_json
def status(as_json: bool) -> None:
    """Compare the declared with the actual state of every environment; exit 0 if they agree, 1 if not."""
    from merit.config import lock
    from merit.deploy import status as room

    found = room.status(lock.read_lock())
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _show(room.render_rows(found))
        for line in room.list_addresses(found):
            click.echo(line)
    sys.exit(max((2 if each["error"] else int(each["differs"]) for each in found), default=0))


def _show(rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import create_console, fit_table

    table = Table(box=None, pad_edge=False)
    for name in ("environment", "declared", "actual", "alias", "since", "state"):
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))
    screen = create_console()
    screen.print(fit_table(table, screen.width))
