"""Commands for the configuration: compose, explain, schema."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from merit import artifacts
from merit.cli.group import main
from merit.cli.options import json_option, overrides
from merit.console import output
from merit.process import workspace_lock

if TYPE_CHECKING:
    from merit.config.schema import Lock


@main.command()
@overrides
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; exit 1 and show the difference if params.yaml is out of date.",
)
def compose(overrides: tuple[str, ...], check: bool) -> None:
    """Resolve conf/ and Hydra OVERRIDEs such as model=linear, and write the result to params.yaml, the lock.

    Only the files of conf/ that the configuration selects must be valid; with --check all of them must be.
    """
    from merit.config import lock
    from merit.config.compose import check_conf
    from merit.config.compose import compose as compose_lock

    if check:
        check_conf()
    composed_lock = compose_lock(overrides, data_access="files" if check else "source")
    if not check:
        with workspace_lock.lock_run():
            has_changed = lock.write_lock(composed_lock)
        click.echo(f"{artifacts.LOCK} written" if has_changed else f"{artifacts.LOCK} is up to date")
    elif difference := lock.diff_lock(composed_lock):
        click.echo(f"{difference}\n\n{artifacts.LOCK} is stale; run 'merit compose'")
        sys.exit(1)
    else:
        click.echo(f"{artifacts.LOCK} is up to date{_note_unread_source(composed_lock)}")


def _note_unread_source(composed_lock: "Lock") -> str:
    """Return a note if --check reused the data fingerprint of the lock, because the source reads no files."""
    from merit.config.compose import reads_files

    reads_data = reads_files(composed_lock.data.source.model_dump(by_alias=True))
    return "" if reads_data else "; the rows of its source were not read: 'merit compose' or 'merit run' reads them"


@main.command()
@click.argument("key", required=False)
@overrides
@click.option("--depth", type=click.IntRange(min=1), help="Maximum levels of the tree; only without a KEY.")
@json_option
def explain(key: str | None, overrides: tuple[str, ...], depth: int | None, as_json: bool) -> None:
    """Show KEY's value and meaning, what set it and what that replaced; without a KEY, show what set every key."""
    from merit.config.documentation import explain as explaining

    if depth is not None and key is not None and "=" not in key:
        raise click.UsageError("--depth is for the tree of all keys; leave out KEY")
    if key is None or "=" in key:  # keys contain no '=', so this argument is the first override
        from merit.console.tables import create_console

        all_overrides = [*filter(None, [key]), *overrides]
        if as_json:
            output.print_json(explaining.list_keys(all_overrides, depth))
        else:
            create_console().print(explaining.build_tree(all_overrides, depth))
    else:
        explanation = explaining.explain_key(key, overrides)
        output.print_json(explanation.as_json()) if as_json else click.echo(str(explanation))


@main.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and list the schemas that are out of date.")
def schema(folder: Path | None, check: bool) -> None:
    """Write the JSON Schemas of conf/, for editors, and of the gate's report to DIR [default: conf/.schema]."""
    from merit.config.documentation import json_schemas
    from merit.gate.report import schema as report_schema

    schema_folder, extra_schemas = (
        folder or json_schemas.SCHEMA_FOLDER,
        {report_schema.SCHEMA_FILE: report_schema.render_schema()},
    )
    changed = (
        json_schemas.find_stale(schema_folder, extra_schemas)
        if check
        else json_schemas.write_schemas(schema_folder, extra_schemas)
    )
    if not changed:
        click.echo(f"{schema_folder}/ is up to date")
    elif check:
        click.echo(f"{schema_folder}/ is stale: {', '.join(changed)}; run 'merit schema'")
        sys.exit(1)
    else:
        click.echo(f"{schema_folder}/ written: {', '.join(changed)}")
