"""Command that examines the setup: doctor."""

import sys

import click

from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import output


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check what merit needs here and print how to fix each problem; exit 1 if something is missing, 2 if broken."""
    from merit import doctor as module

    findings = module.run_checks()
    output.print_json(module.as_json(findings)) if as_json else click.echo("\n".join(module.render_lines(findings)))
    sys.exit(module.compute_exit_code(findings))
