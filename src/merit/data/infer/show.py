"""Prints the result of `merit infer`: features, columns left out with reasons, notes and warnings."""

import click

from merit.data.infer import Inferred
from merit.data.infer.guess import features

NOTES = 20
"""Maximum notes on a terminal; the file contains all."""


def show(found: Inferred) -> None:
    """Print the result; warnings come near the end, before the written files and the next step."""
    asked = found.target
    kept = [guess.name for guess in features(found.columns)]
    left = [guess for guess in found.columns if guess.left_out is not None]
    click.echo(f"task:     {asked.task}: {asked.name}, {asked.seen}")
    click.echo(f"rows:     {found.rows:,}")
    click.echo(f"features: {len(kept)} of {len(found.columns)} columns: {_listed(kept)}")
    for guess in left:
        click.echo(f"left out: {guess.name!r}: {guess.left_out}")
    for note in found.notes[:NOTES]:
        click.echo(f"note:     {note}")
    if (more := len(found.notes) - NOTES) > 0:
        click.echo(f"note:     and {more} more, in {found.files[0]}")
    for warning in found.warnings:
        click.echo(f"WARNING:  {warning}")
    click.echo(f"written:  {', '.join(map(str, found.files))}")
    click.echo(f"next:     read and correct them, then 'merit run experiment={found.name}'")


def _listed(names: list[str], most: int = 10) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
