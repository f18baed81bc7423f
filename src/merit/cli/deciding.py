"""Commands that run, judge and compare: gate, report, diff, run, pull, repro, reproduce."""

import sys
from pathlib import Path
from typing import Literal

import click

from merit.cli.group import main, overrides
from merit.errors import GATE_MODULES, require_modules


@main.command()
@click.argument("only", required=False, type=click.Choice(["data", "model"]))
@click.option(
    "--against",
    metavar="REF",
    help="Compare with the champion of commit REF [default: the merge base with main].",
)
def gate(only: Literal["data", "model"] | None, against: str | None) -> None:
    """Check the candidate against its gates and the champion; exit 0 only if it passes.

    `data` runs only the data checks, which need no training; `model` only the model checks.
    """
    from merit.console.tables import show_phase

    show_phase("gate: loading")
    from merit.config import lock
    from merit.gate import judge
    from merit.gate.report import terminal

    report = judge.gate(lock.read_lock(), against, only)
    terminal.print_report(report)
    sys.exit(report["verdict"] != "pass")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def report(file: Path) -> None:
    """Post the gate report FILE to its pull request, as one comment and one commit status; a workflow calls this."""
    from merit.ci.report import post_report

    click.echo(post_report(file))


@main.command()
@click.argument("ref", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def diff(ref: str | None, as_json: bool) -> None:
    """Show how config, data, metrics and package differ from REF [default: the merge base with main]; exit 1 if so."""
    import json

    from merit.gate import diff as room

    differences = room.diff(ref)
    click.echo(
        json.dumps(differences, indent=2, ensure_ascii=False) if as_json else "\n".join(room.render_lines(differences))
    )
    sys.exit(int(differences["differs"]))


@main.command()
@overrides
def run(overrides: tuple[str, ...]) -> None:
    """Run the complete path: compose, the stages that are out of date, gate, register; print the verdict."""
    from merit.cli import nextsteps
    from merit.gate.report import terminal
    from merit.pipeline import run as pipeline

    require_modules("merit run", *GATE_MODULES)  # before any training, though only the gate at the end needs them
    outcome = pipeline.run_path(overrides)
    terminal.print_report(outcome.report)
    if outcome.record_error is not None:
        raise outcome.record_error
    if outcome.report["verdict"] != "pass":
        click.echo(f"next:    {terminal.suggest_next_step(outcome.report)}")
        if outcome.is_from_overrides:
            click.echo(f"         {nextsteps.advise_restore()}")
        sys.exit(1)
    model_text = f"{outcome.report['model']}, candidate {outcome.version} in MLflow"
    if outcome.version is None:
        model_text = f"{outcome.report['model']}; MLflow doesn't keep these runs"
    if outcome.is_from_overrides:
        next_lines = nextsteps.advise_keep(overrides)
    else:
        model_text, next_lines = (
            f"{model_text}; 'merit register' on main makes a version of it",
            nextsteps.advise_commit(),
        )
    click.echo(f"model:   {model_text}\nnext:    'merit serve', then call it")
    click.echo("".join(f"         {line}\n" for line in next_lines), nl=False)


@main.command()
def pull() -> None:
    """Download the outputs that dvc.lock names from DVC's remote and verify them; nothing is computed."""
    from merit import dvc
    from merit.process import workspace_lock

    with workspace_lock.lock_run():
        count = dvc.pull()
    click.echo(f"{count} outputs are as dvc.lock names them")


@main.command()
@click.argument("stage", required=False)
def repro(stage: str | None) -> None:
    """Run the stages that are out of date, up to STAGE if given; outputs in DVC's remote are downloaded instead."""
    from merit.pipeline import run as pipeline
    from merit.process import workspace_lock

    with workspace_lock.lock_run():
        completed = pipeline.update_stages(stage, click.echo)
    click.echo(f"ran: {', '.join(completed)}" if completed else "up to date")


@main.command()
@click.argument("commit", required=False)
@click.option("--here", is_flag=True, help="Compute even if installed packages differ from COMMIT's requirements.lock.")
def reproduce(commit: str | None, here: bool) -> None:
    """Recompute the outputs of COMMIT [default: HEAD] with its code; exit 1 if they differ, and show where and why."""
    from merit import reproduce as room

    outcome = room.reproduce(commit, allow_other_packages=here, log=click.echo)
    click.echo("\n".join(outcome.format_lines()))
    sys.exit(not outcome.is_identical)
