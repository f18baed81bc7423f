"""Commands for environments: promote, plan, apply, status."""

import sys

import click

from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import logging, output


@main.command()
@click.argument("source", metavar="SOURCE")
@click.argument("environment")
def promote(source: str, environment: str) -> None:
    """Write the version and image of SOURCE (an environment, or a version such as v3) to ENVIRONMENT's file."""
    from merit.config import lock
    from merit.deploy import promote as module

    promotion = module.promote(source, environment, lock.read_lock())
    for key, (previous, value) in promotion.changes.items():
        click.echo(f"{promotion.declared.file.path}: {key}: {previous or 'null'} -> {value or 'null'}")
    if not promotion.changes:
        click.echo(f"{promotion.declared.file.path} declares {promotion.version} already")
        return
    logging.show_line("next:    " + "\n         ".join(module.list_next_commands(promotion)))


@main.command()
@click.argument("environment")
@json_option
def plan(environment: str, as_json: bool) -> None:
    """Show what apply would change in ENVIRONMENT, as a diff; exit 0 if nothing, 1 if something, 2 if not allowed."""
    from merit.config import lock
    from merit.deploy import plan as module

    planned = module.plan(environment, lock.read_lock())
    output.print_json(module.as_json(planned)) if as_json else click.echo("\n".join(module.render_lines(planned)))
    sys.exit(int(planned.differs))


@main.command()
@click.argument("environment")
def apply(environment: str) -> None:
    """Deploy to ENVIRONMENT what main declares and record it as a tag; exit 0 even if only MLflow wasn't updated."""
    from merit.config import lock
    from merit.deploy import apply as module
    from merit.serving.server_probe import check_example

    result = module.apply(environment, lock.read_lock(), check_example)
    for line in result.actions:
        click.echo(line)
    unchanged_text = "no difference" if result.remaining is None else "what serves is as declared"
    click.echo(f"{environment}: {unchanged_text}" if result.record_tag is None else f"recorded as {result.record_tag}")
    if result.address is not None:
        click.echo(f"call:    {result.address}")
    if result.remaining is not None:
        logging.logger.warning("left:    %s", result.remaining)


@main.command()
@json_option
def status(as_json: bool) -> None:
    """Compare the declared with the actual state of every environment; exit 0 if they agree, 1 if not."""
    from merit.config import lock
    from merit.deploy import status as module

    statuses = module.status(lock.read_lock())
    if as_json:
        output.print_json(statuses)
    else:
        _print_statuses(module.render_rows(statuses))
        for line in module.list_addresses(statuses):
            click.echo(line)
    sys.exit(max((2 if each["error"] else int(each["differs"]) for each in statuses), default=0))


def _print_statuses(rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import create_console, fit_table

    table = Table(box=None, pad_edge=False)
    for name in ("environment", "declared", "actual", "alias", "since", "state"):
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))
    terminal = create_console()
    terminal.print(fit_table(table, terminal.width))
