"""Provides the options that commands share: verbosity, the log format, --json, and the overrides."""

from contextlib import nullcontext
from typing import Any

import click

from merit.cli import sections
from merit.console import logging, output

json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")


class MeritCommand(click.Command):
    """A command that takes the group's log options too, and whose help ends with an example."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += create_log_options(hidden=True)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with its log options; with --quiet, print nothing on standard output but what was asked."""
        settings = read_log_settings(ctx)
        logging.configure(**settings)
        is_quiet = settings["verbosity"] == "quiet"
        with output.silence() if is_quiet else nullcontext(), logging.Timer(ctx.command_path):
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        super().format_epilog(ctx, formatter)
        if example := sections.EXAMPLES.get(ctx.command_path.partition(" ")[2]):
            with formatter.section("Example"):
                formatter.write_text(example)


def create_log_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Return the options for what is logged.

    Args:
        hidden: leave them out of the help: each command takes them, and the help of `merit` names them.
    """
    shared: dict[str, Any] = {"expose_value": False, "hidden": hidden, "callback": _store_option}
    return [
        click.Option(["-v", "--verbose"], is_flag=True, help="Show timings, files and DVC's messages too.", **shared),
        click.Option(["-q", "--quiet"], is_flag=True, help="Show nothing but warnings and errors.", **shared),
        click.Option(
            ["--log-format"], type=click.Choice(logging.FORMATS), help="Write logs as text or lines of JSON.", **shared
        ),
    ]


def _store_option(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store a log option; one after the command wins over one before it."""
    if value and parameter.name == "log_format":
        ctx.find_root().ensure_object(dict)["log_format"] = value
    elif value:
        ctx.find_root().ensure_object(dict)["verbosity"] = parameter.name


def read_log_settings(ctx: click.Context) -> dict[str, str]:
    """Return verbosity and log format by the options, else by the environment, in which a run hands them to stages."""
    defaults = {"verbosity": "normal", "log_format": "text"}
    return defaults | logging.read_environment() | ctx.find_root().ensure_object(dict)
