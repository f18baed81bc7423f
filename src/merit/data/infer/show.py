"""Prints the result of `merit infer`: features, columns left out with reasons, notes and warnings."""

from typing import Any

import click

from merit.console.logging import show_line
from merit.data.infer import InferredConfig
from merit.data.infer.guess import select_features

MAX_NOTES = 20
"""Maximum notes on a terminal; the file contains all."""


def print_result(result: InferredConfig) -> None:
    """Print the result; warnings come near the end, before the written files and the next step."""
    target = result.target
    feature_names = [guess.name for guess in select_features(result.columns)]
    left_out = [guess for guess in result.columns if guess.left_out is not None]
    click.echo(f"task:     {target.task}: {target.name}, {target.description}")
    click.echo(f"rows:     {result.rows:,}")
    click.echo(f"features: {len(feature_names)} of {len(result.columns)} columns: {_join_names(feature_names)}")
    for guess in left_out:
        click.echo(f"left out: {guess.name!r}: {guess.left_out}")
    for note in result.notes[:MAX_NOTES]:
        click.echo(f"note:     {note}")
    if (hidden_count := len(result.notes) - MAX_NOTES) > 0:
        click.echo(f"note:     and {hidden_count} more, in {result.files[0]}")
    for warning in result.warnings:
        click.echo(f"WARNING:  {warning}")
    click.echo(f"written:  {', '.join(map(str, result.files))}")
    show_line(f"next:     read and correct them, then 'merit run experiment={result.name}'")


def describe_result(result: InferredConfig) -> dict[str, Any]:
    """Return the result for JSON, with all notes."""
    return {
        "name": result.name,
        "task": result.target.task,
        "target": result.target.name,
        "rows": result.rows,
        "features": [guess.name for guess in select_features(result.columns)],
        "left_out": {guess.name: guess.left_out for guess in result.columns if guess.left_out is not None},
        "notes": list(result.notes),
        "warnings": list(result.warnings),
        "files": [str(path) for path in result.files],
    }


def _join_names(names: list[str], max_shown: int = 10) -> str:
    displayed = ", ".join(names[:max_shown])
    return displayed if len(names) <= max_shown else f"{displayed} and {len(names) - max_shown} more"
