"""The reference of the command line: every command of `merit.cli`, with its options."""

from collections.abc import Iterator

import click
from markdown_text import cell, prose

from merit.cli import main


def cli_page() -> str:
    """Return the Markdown of a page with every command, in the order of `merit --help`."""
    lines = [
        "# Command line\n\nExit codes: 0 passed or no difference, 1 refused or differs, 2 broken, 130 interrupted.\n"
    ]
    for path, command in _commands(main, ("merit",)):
        lines += _command(path, command)
    return "\n".join(lines)


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        if not command.hidden:
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from _commands(command, (*path, name))


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path), max_content_width=100)
    usage = " ".join([" ".join(path), *command.collect_usage_pieces(context)])
    yield f"{'#' * len(path)} {' '.join(path)} {{ #{'-'.join(path[1:])} }}\n\n```\n{usage}\n```\n"
    yield _help(command.help or "") + "\n"
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options:
        yield "| option | meaning |\n|---|---|"
    for option in options:
        record = option.get_help_record(context)
        if record:
            yield f"| `{record[0].replace('|', chr(92) + '|')}` | {cell(record[1])} |"
    yield ""


def _help(text: str) -> str:
    """Return a help text as Markdown; what click leaves as it stands becomes a block."""
    paragraphs = text.replace("\f", "").strip().split("\n\n")
    return "\n\n".join(_paragraph(each) for each in paragraphs)


def _paragraph(text: str) -> str:
    verbatim = text.removeprefix("\b")
    return prose(" ".join(text.split())) if verbatim == text else f"```\n{verbatim.strip(chr(10))}\n```"
