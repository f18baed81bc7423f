"""The group of all commands, and what they share."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from merit import __version__
from merit.errors import MeritError, visible

MEND: dict[type[OSError], str] = {
    IsADirectoryError: "a file belongs there: remove the folder, or move it away",
    NotADirectoryError: "a folder belongs there: remove the file, or move it away",
}
"""What to do about errors that have nothing to do with space or permissions."""

WHOLE = 1000
"""Characters that no first sentence of a help text has."""


class Commands(click.Group):
    """A group whose help lists its commands in the order of the path, each by a whole sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the path."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Describe each command by the whole first sentence of its help, which click would cut off."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(WHOLE)) for name, each in commands if not each.hidden])


class Group(Commands):
    """The group of all commands; it turns what a person can mend into one line and an exit code."""

    group_class = Commands

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return _invoked(super().invoke, ctx)
        except MeritError as error:
            text = visible(str(error))  # what stands in it may be of a file that a stranger wrote
            click.echo(f"error: {text}" if "\n" not in text else f"error:\n{text}", err=True)
            raise SystemExit(error.exit_code) from error
        except KeyboardInterrupt as error:
            click.echo("interrupted: nothing was left half-written; run it again", err=True)
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # whoever read the output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(MeritError.exit_code) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            mend = MEND.get(type(error), "free space or fix its permissions")
            click.echo(visible(f"error: {place}{error.strerror or error}; {mend}"), err=True)
            raise SystemExit(MeritError.exit_code) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _was_interrupted(error):
                click.echo("interrupted: nothing was left half-written; run it again", err=True)
                raise SystemExit(130) from error
            # Python would exit with 1, which here means that the work was done and refused.
            traceback.print_exc()
            click.echo(
                "error: a fault in merit itself, not in what you did; please report it with the lines above", err=True
            )
            raise SystemExit(MeritError.exit_code) from error


def _was_interrupted(error: BaseException | None) -> bool:
    """Say whether Ctrl+C is behind an error: a module in C that is being imported makes another of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _invoked(command: Callable[[click.Context], Any], ctx: click.Context) -> Any:
    """Run a command; what fails in a package that the project trusts is told as theirs."""
    try:
        return command(ctx)
    except (MeritError, click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except (Exception, SystemExit):
        from merit.config.trust import convert_project_errors

        with convert_project_errors():
            raise


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="merit")
def main() -> None:
    """Models merge on merit: conf/ is composed, DVC computes, the gate decides.

    Start with `merit run`. Exit codes: 0 passed or no difference, 1 refused or differs, 2 broken.
    """
    # Threads that spin while they wait make a busy machine many times slower, and those that never spin make an idle
    # one slower by half. This is between; it is read when OpenMP is first loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Whoever ends this by SIGTERM, as job schedulers do, lets it end what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")
