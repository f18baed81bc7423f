"""Defines the command group `merit`, its error handling, and the arguments that commands share."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from merit.cli import sections
from merit.cli.options import MeritCommand, create_log_options, read_log_settings
from merit.console import logging
from merit.errors import LIBRARIES, MeritError, MissingExtraError, replace_unprintable
from merit.version import __version__

FILE_ERROR_ADVICE: dict[type[OSError], str] = {
    IsADirectoryError: "a file belongs there: remove the folder, or move it away",
    NotADirectoryError: "a folder belongs there: remove the file, or move it away",
}
"""Advice for file errors that are not about disk space or permissions."""

INTERRUPTED = "interrupted: nothing was left half-written; run it again"

MAX_SUMMARY_CHARACTERS = 1000
"""Maximum characters of a command's summary; longer than any, so that click truncates none."""


class OrderedGroup(click.Group):
    """A command group whose help lists the commands in the order of registration, with complete first sentences."""

    command_class = MeritCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of registration."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands with the complete first sentence of each help text, which click would truncate."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(MAX_SUMMARY_CHARACTERS))
                    for name, command in commands
                    if not command.hidden
                ]
            )


class MeritGroup(OrderedGroup):
    """The top-level group; it prints errors that users can fix as one line and sets the exit code."""

    group_class = OrderedGroup

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of commands: all of them fit on one screen."""
        rows = [
            row
            for section in sections.SECTIONS
            for row in ((section.title, section.purpose), ("", ", ".join(section.commands)))
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and translate its errors into exit codes."""
        try:
            return _run_command(super().invoke, ctx)
        except MeritError as error:
            logging.logger.error("%s", replace_unprintable(str(error)))  # it may quote a file of an untrusted author
            raise SystemExit(error.exit_code) from error
        except KeyboardInterrupt as error:
            logging.logger.warning(INTERRUPTED)
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # the reader of standard output, such as `head`, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(MeritError.exit_code) from error
        except OSError as error:
            file_prefix = f"{error.filename}: " if error.filename else ""
            advice = FILE_ERROR_ADVICE.get(type(error), "free space or fix its permissions")
            logging.logger.error("%s", replace_unprintable(f"{file_prefix}{error.strerror or error}; {advice}"))
            raise SystemExit(MeritError.exit_code) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _was_interrupted(error):
                logging.logger.warning(INTERRUPTED)
                raise SystemExit(130) from error
            # Python would exit with 1, which means "refused" here.
            logging.logger.exception(
                "a fault in merit itself, not in what you did; please report it with its traceback"
            )
            raise SystemExit(MeritError.exit_code) from error


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl+C caused an error: extension modules that are being imported raise another error for it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _run_command(command: Callable[[click.Context], Any], ctx: click.Context) -> Any:
    """Run a command; failures in a trusted package of the project are raised as `ProjectCodeError`."""
    try:
        return command(ctx)
    except (MeritError, click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if module in LIBRARIES:
            raise MissingExtraError(f"merit {ctx.invoked_subcommand}", module) from error
        from merit.config.components.trusted_packages import convert_project_errors

        with convert_project_errors():
            raise


@click.group(
    cls=MeritGroup,
    params=create_log_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="`merit COMMAND --help` explains a command, with an example. What only GitHub workflows call is in `merit "
    "workflow`.",
)
@click.version_option(__version__, prog_name="merit")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Train, gate, release and deploy a machine-learning model from a Git repository; YAML in conf/ declares it.

    Start with `merit run`. Exit codes: 0 passed or no difference, 1 refused or differs, 2 broken.
    """
    logging.configure(**read_log_settings(ctx))
    # OpenMP threads that busy-wait make a loaded machine many times slower; threads that never do make an idle machine
    # 1.5 times slower. This value is a compromise; OpenMP reads it when it is first loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # On SIGTERM, which job schedulers send, raise KeyboardInterrupt, so that child processes are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
