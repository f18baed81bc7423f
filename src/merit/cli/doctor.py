"""Command that examines the setup: doctor."""

import json
import sys

import click

from merit.cli.group import main


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def doctor(as_json: bool) -> None:
    """Check what merit needs here and print how to fix each problem; exit 1 if something is missing, 2 if broken."""
    from merit import doctor as room

    findings = room.run_checks()
    output = (
        json.dumps(room.as_json(findings), indent=2, ensure_ascii=False)
        if as_json
        else "\n".join(room.render_lines(findings))
    )
    click.echo(output)
    sys.exit(room.compute_exit_code(findings))
