"""Commands for the stages that DVC runs: ingest, validate, features, train, seeds, baseline, evaluate, package."""

import functools
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from merit import artifacts
from merit.cli.group import main
from merit.cli.options import json_option, overrides
from merit.console import output
from merit.errors import MeritError
from merit.process import workspace_lock

if TYPE_CHECKING:
    from merit.config.schema import Lock

Command = Callable[..., None]


def _wrap_stage(
    command: Command, lock_folder: Callable[[], AbstractContextManager[None]] = workspace_lock.lock_stage
) -> Command:
    """Wrap a stage's command: lock the working folder while it runs, and fail if params.yaml changes meanwhile.

    DVC reads params.yaml after the stage and would record the outputs under values that did not make them.
    """
    name = command.__name__.strip("_")

    @functools.wraps(command)
    def run(**options: Any) -> None:
        initial_lock = artifacts.LOCK.read_bytes() if artifacts.LOCK.is_file() else b""
        with lock_folder():
            command(**options)
        if artifacts.LOCK.read_bytes() != initial_lock:
            raise MeritError(f"{artifacts.LOCK}: changed while '{name}' ran with its earlier content; run it again")

    return run


@main.command()
@_wrap_stage
def ingest() -> None:
    """Read the data source and keep the declared time window, rows and columns."""
    from merit.data.ingest import ingest as run

    table = run(_read_verified_lock().data)
    click.echo(f"{artifacts.RAW}: {table.height:,} rows, {table.width} columns")


@main.command()
@json_option
@_wrap_stage
def validate(as_json: bool) -> None:
    """Check the data against its contract."""
    from merit.config import lock
    from merit.data import contract

    with output.reserve_stdout(as_json):
        violations = contract.validate(lock.read_lock().data)
    if as_json:
        output.print_json(artifacts.read_json(artifacts.DATA_REPORT, "validate"))
    else:
        contract.print_violations(violations)
    contract.refuse_violations(violations)


@main.command()
@_wrap_stage
def features() -> None:
    """Fit the preprocessing on the training rows and write the feature arrays."""
    from merit.config import lock
    from merit.features.fit import features as run

    project_lock = lock.read_lock()
    run(project_lock.data, project_lock.features)


@main.command()
@click.option("-m", "--multirun", is_flag=True, help="Run a sweep: OVERRIDEs with several values define its trials.")
@overrides
def train(multirun: bool, overrides: tuple[str, ...]) -> None:
    """Train the network; with -m run a sweep, which changes neither params.yaml nor training/.

    merit train -m model=linear,mlp optimizer.lr=1e-3,3e-3 [sweep=tpe] [hydra/launcher=ray]
    """
    if multirun:
        from merit.sweep.orchestrate import run_multirun

        run_multirun(overrides)
    elif overrides:
        raise click.UsageError("OVERRIDEs are for -m; one training is what params.yaml says: 'merit run OVERRIDE...'")
    else:
        _train()


@_wrap_stage
def _train() -> None:
    from merit.tracking.run_logger import RunLogger

    project_lock = _read_verified_lock()
    with RunLogger(project_lock) as live_run:
        from merit.training.train import train as run

        run(project_lock, live_run.log_epoch)


@main.command()
@functools.partial(_wrap_stage, lock_folder=workspace_lock.lock_side_stage)
def baseline() -> None:
    """Fit the baseline, gradient boosting on the same rows and columns, which the network must beat."""
    from merit.config import lock
    from merit.evaluation.baseline import run_baseline as run

    click.echo(f"{artifacts.BASELINE}: predictions of {run(lock.read_lock()):,} test rows")


@main.command()
@functools.partial(_wrap_stage, lock_folder=workspace_lock.lock_seeds_stage)
def seeds() -> None:
    """Train the recipe with other seeds, to measure how much a seed alone moves a metric (evaluate.seeds)."""
    project_lock = _read_verified_lock()
    with artifacts.write_atomically(artifacts.SEEDS) as folder:
        folder.mkdir()
        if project_lock.evaluate.seeds > 1:
            _train_seeds(project_lock, folder)
    click.echo(f"{artifacts.SEEDS}/: {project_lock.evaluate.seeds - 1} further seeds of the recipe")


def _train_seeds(project_lock: "Lock", folder: Path) -> None:
    """Train and export each seed in a process of its own, at once where there are processors."""
    from merit.training.seeds import count_processes, list_seeds

    make_seed = functools.partial(_make_seed, project_lock, folder)
    with ProcessPoolExecutor(count_processes(project_lock), multiprocessing.get_context("fork")) as pool:
        list(pool.map(make_seed, list_seeds(project_lock)))  # raises what a process raised


def _make_seed(project_lock: "Lock", folder: Path, seed: int) -> None:
    from merit.packaging.seeds import export_seed
    from merit.training.seeds import train_seed

    with tempfile.TemporaryDirectory(dir=folder.parent) as training_folder:
        train_seed(project_lock, seed, Path(training_folder))
        export_seed(project_lock, Path(training_folder) / artifacts.WEIGHTS.name, folder / f"{seed}.onnx")


@main.command()
@functools.partial(_wrap_stage, lock_folder=workspace_lock.lock_side_stage)
def evaluate() -> None:
    """Measure the model and the baseline on the test rows."""
    from merit.evaluation.evaluate import evaluate as run

    run(_read_verified_lock())


@main.command()
@_wrap_stage
def package() -> None:
    """Export the model package, one ONNX graph from raw columns to predictions, and verify it against the network."""
    from merit.packaging.package import package as run

    parity = run(_read_verified_lock())["parity"]
    click.echo(f"{artifacts.PACKAGE}/: parity {parity['greatest_difference']:.1e} on {parity['rows']:,} rows")


def _read_verified_lock() -> "Lock":
    """Return the lock for a stage that builds classes of conf/, if their code is still the code it was made for."""
    from merit.config import lock
    from merit.config.components import trusted_packages

    project_lock = lock.read_lock()
    trusted_packages.check_code(project_lock.code)
    return project_lock
