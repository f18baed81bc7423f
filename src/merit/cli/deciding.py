"""Commands that run, judge and compare: gate, report, diff, run, pull, repro, reproduce."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from merit.cli.group import main
from merit.cli.options import json_option, overrides
from merit.console import logging, output
from merit.errors import GATE_MODULES, require_modules

if TYPE_CHECKING:
    from merit.pipeline.run import RunResult


@main.command()
@click.argument("only", required=False, type=click.Choice(["data", "model"]))
@click.option(
    "--against",
    metavar="REF",
    help="Compare with the champion of commit REF [default: the merge base with main].",
)
@json_option
def gate(only: Literal["data", "model"] | None, against: str | None, as_json: bool) -> None:
    """Check the candidate against its gates and the champion; exit 0 only if it passes.

    `data` runs only the data checks, which need no training; `model` only the model checks.
    """
    from merit.console.logging import show_phase

    show_phase("gate: loading")
    from merit.config import lock
    from merit.gate import judge
    from merit.gate.report import terminal

    with output.reserve_stdout(as_json):
        report = judge.gate(lock.read_lock(), against, only)
    output.print_json(report) if as_json else terminal.print_report(report)
    sys.exit(report["verdict"] != "pass")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def report(file: Path) -> None:
    """Post the gate report FILE to its pull request, as one comment and one commit status; a workflow calls this."""
    from merit.ci.report import post_report

    click.echo(post_report(file))


@main.command()
@click.argument("ref", required=False)
@json_option
def diff(ref: str | None, as_json: bool) -> None:
    """Show how config, data, metrics and package differ from REF [default: the merge base with main]; exit 1 if so."""
    from merit.gate import diff as module

    differences = module.diff(ref)
    output.print_json(differences) if as_json else click.echo("\n".join(module.render_lines(differences)))
    sys.exit(int(differences["differs"]))


@main.command()
@overrides
@json_option
def run(overrides: tuple[str, ...], as_json: bool) -> None:
    """Run the complete path: compose, the stages that are out of date, gate, register; print the verdict."""
    from merit.gate.report import terminal
    from merit.pipeline import run as pipeline

    require_modules("merit run", *GATE_MODULES)  # before any training, though only the gate at the end needs them
    with output.reserve_stdout(as_json):
        result = pipeline.run_path(overrides)
    if as_json:
        output.print_json({"verdict": result.report["verdict"], "candidate": result.version, "report": result.report})
    else:
        terminal.print_report(result.report)
    if result.record_error is not None:
        raise result.record_error
    if not as_json:
        _print_next_steps(result, overrides)
    sys.exit(result.report["verdict"] != "pass")


def _print_next_steps(result: "RunResult", overrides: tuple[str, ...]) -> None:
    """Print what the candidate is, and what to do next."""
    from merit.cli import nextsteps
    from merit.gate.report import terminal

    if result.report["verdict"] != "pass":
        logging.show_line(f"next:    {terminal.suggest_next_step(result.report)}")
        if result.is_from_overrides:
            logging.show_line(f"         {nextsteps.advise_restore()}")
        return
    model_text = f"{result.report['model']}, candidate {result.version} in MLflow"
    if result.version is None:
        model_text = f"{result.report['model']}; MLflow doesn't keep these runs"
    if result.is_from_overrides:
        next_lines = nextsteps.advise_keep(overrides)
    else:
        model_text = f"{model_text}; 'merit register' on main makes a version of it"
        next_lines = nextsteps.advise_commit()
    click.echo(f"model:   {model_text}")
    logging.show_line("next:    'merit serve', then call it")
    for line in next_lines:
        logging.show_line(f"         {line}")


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
        completed = pipeline.update_stages(stage)
    click.echo(f"ran: {', '.join(completed)}" if completed else "up to date")


@main.command()
@click.argument("commit", required=False)
@click.option("--here", is_flag=True, help="Compute even if installed packages differ from COMMIT's requirements.lock.")
@json_option
def reproduce(commit: str | None, here: bool, as_json: bool) -> None:
    """Recompute the outputs of COMMIT [default: HEAD] with its code; exit 1 if they differ, and show where and why."""
    from merit import reproduce as module

    with output.reserve_stdout(as_json):
        result = module.reproduce(commit, allow_other_packages=here, log=logging.show_line)
    output.print_json(result.as_json()) if as_json else click.echo("\n".join(result.format_lines()))
    sys.exit(not result.is_identical)
