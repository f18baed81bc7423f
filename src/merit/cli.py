"""The command line: one command per word of the path; each parses, calls one room, prints."""

import functools
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from merit import __version__, artifacts, exclusive
from merit.errors import WIDTH, MeritError

if TYPE_CHECKING:
    from merit.config.schema import Lock


class Group(click.Group):
    """The group of all commands; it turns what a person can mend into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the path."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return _invoked(super().invoke, ctx)
        except MeritError as error:
            click.echo(f"error: {error}" if "\n" not in str(error) else f"error:\n{error}", err=True)
            raise SystemExit(error.exit_code) from error
        except KeyboardInterrupt as error:
            click.echo("interrupted: nothing was left half-written; run it again", err=True)
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # whoever read the output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(MeritError.exit_code) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {place}{error.strerror or error}; free space or fix its permissions", err=True)
            raise SystemExit(MeritError.exit_code) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Python would exit with 1, which here means that the work was done and refused.
            traceback.print_exc()
            click.echo(
                "error: a fault in merit itself, not in what you did; please report it with the lines above", err=True
            )
            raise SystemExit(MeritError.exit_code) from error


def _invoked(command: Callable[[click.Context], Any], ctx: click.Context) -> Any:
    """Run a command; what fails in a package that the project trusts is told as theirs."""
    try:
        return command(ctx)
    except (MeritError, click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except (Exception, SystemExit):
        from merit.config.trust import theirs

        with theirs():
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


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", help="The project's name [default: that of DIR].")
def new(folder: Path, name: str | None) -> None:
    """Make a Git repository for a model of your own in DIR, with merit as a library."""
    from merit.project.new import new as run

    made = run(folder, name)
    done = f"first commit {made.commit[:7]}" if made.commit else f"staged; no commit was made: {made.reason}"
    click.echo(f"{made.folder}: {made.files} files, {done}")
    if made.source is not None:
        click.echo(
            f"merit:   installed from {made.source}, as 'git config merit.source' says there; "
            f"in another clone: make demo MERIT={shlex.quote(made.source)}"
        )
    click.echo(f"next:    cd {shlex.quote(str(made.folder))} && make demo")


@main.command()
@click.option("--yes", is_flag=True, help="Do it, and don't ask.")
@click.option("--check", is_flag=True, help="Don't do it, and don't ask; exit 1 if there is something to do.")
def upgrade(yes: bool, check: bool) -> None:
    """Bring conf/, and what `merit new` gave, to this merit's form; show the difference first."""
    from merit.project.upgrade import plan

    if yes and check:
        raise click.UsageError("--yes and --check exclude each other")
    planned = plan()
    for path in planned.kept:
        click.echo(f"{path}: kept, for it was edited here; this merit has another")
    if not planned.after:
        click.echo("up to date: nothing to upgrade")
        return
    click.echo("".join([planned.difference(), *(f"why:     {reason}\n" for reason in planned.reasons)]), nl=False)
    if not yes and (check or not sys.stdin.isatty() or not click.confirm("upgrade?")):
        click.echo("next:    'merit upgrade --yes' does it")
        sys.exit(1)
    planned.apply()
    click.echo("".join(f"{path} written\n" for path in planned.after), nl=False)
    click.echo(
        "next:    'make install', then 'merit run'" if "requirements.lock" in planned.after else "next:    'merit run'"
    )


def _stage(command: Callable[[], None]) -> Callable[[], None]:
    """Hold the folder for a stage, and the stage to the lock that it began with.

    DVC would file what it made under the lock that it finds at the end.
    """

    @functools.wraps(command)
    def run() -> None:
        began = artifacts.LOCK.read_bytes() if artifacts.LOCK.is_file() else b""
        with exclusive.stage():
            command()
        if artifacts.LOCK.read_bytes() != began:
            raise MeritError(
                f"{artifacts.LOCK}: changed while '{command.__name__}' ran, which worked by what it was; run it again"
            )

    return run


overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")


@main.command()
@click.argument("path")
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--time", metavar="COLUMN", help="The column that says when: rows are then split by it.")
@click.option("--name", help="The model's name [default: the file's or the table's].")
@click.option("--query", metavar="SQL", help="The rows to read, where PATH is a database's URL.")
@click.option("--table", help="The table to read, where PATH is a database's URL.")
@click.option("--force", is_flag=True, help="Write over files of that name.")
def infer(path: str, target: str, **how: Any) -> None:
    """Guess conf/ for the table at PATH: CSV, Parquet, or a database's URL such as sqlite:///shop.db."""
    from merit.data import infer as room
    from merit.data.infer import show

    show.show(room.infer(path, target, **how))


@main.command()
@overrides
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and show the difference if params.yaml is stale.")
def compose(overrides: tuple[str, ...], check: bool) -> None:
    """Write params.yaml, the lock, from conf/ and Hydra OVERRIDEs such as model=linear."""
    from merit.config import lock
    from merit.config.compose import compose as compose_lock

    composed = compose_lock(overrides)
    if not check:
        with exclusive.run():
            written = lock.write(composed)
        click.echo(f"{artifacts.LOCK} written" if written else f"{artifacts.LOCK} is up to date")
    elif difference := lock.difference(composed):
        click.echo(f"{difference}\n\n{artifacts.LOCK} is stale; run 'merit compose'")
        sys.exit(1)
    else:
        click.echo(f"{artifacts.LOCK} is up to date")


@main.command()
@click.argument("key", required=False)
@overrides
@click.option("--depth", type=click.IntRange(min=1), help="Without a KEY: show so many levels of the tree.")
def explain(key: str | None, overrides: tuple[str, ...], depth: int | None) -> None:
    """Say what KEY is, what set it, what that replaced and what it means; without a KEY, show what set every key."""
    from merit.config import explain as explaining

    if depth is not None and key is not None and "=" not in key:
        raise click.UsageError("--depth is for the tree of all keys; leave out KEY")
    if key is None or "=" in key:  # a key holds no '=', so this is the first override
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else WIDTH).print(
            explaining.tree([*filter(None, [key]), *overrides], depth)
        )
    else:
        click.echo(str(explaining.explain(key, overrides)))


@main.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and name the schemas that are stale.")
def schema(folder: Path | None, check: bool) -> None:
    """Write the JSON Schemas that editors check conf/ with, and that of the gate's report, into conf/.schema or DIR."""
    from merit.config import jsonschema
    from merit.gate import form

    place, others = folder or jsonschema.FOLDER, {form.SCHEMA: form.schema()}
    changed = jsonschema.stale(place, others) if check else jsonschema.write(place, others)
    if not changed:
        click.echo(f"{place}/ is up to date")
    elif check:
        click.echo(f"{place}/ is stale: {', '.join(changed)}; run 'merit schema'")
        sys.exit(1)
    else:
        click.echo(f"{place}/ written: {', '.join(changed)}")


@main.command()
@_stage
def ingest() -> None:
    """Read the source, keep the declared window, rows and columns."""
    from merit.data.ingest import ingest as run

    table = run(_read_with_its_code().data)
    click.echo(f"{artifacts.RAW}: {table.height:,} rows, {table.width} columns")


@main.command()
@_stage
def validate() -> None:
    """Hold the data against its contract."""
    from merit.config import lock
    from merit.data import contract

    found = contract.validate(lock.read().data)
    contract.show(found)
    contract.refuse(found)


@main.command()
@_stage
def features() -> None:
    """Fit the preprocessing on training rows and write the arrays."""
    from merit.config import lock
    from merit.features.fit import features as run

    read = lock.read()
    run(read.data, read.features)


@main.command()
@_stage
def train() -> None:
    """Train the network; the weights of its best epoch out, the run into MLflow."""
    from merit.tracking.live import Live

    read = _read_with_its_code()
    with Live(read) as tracked:
        from merit.training.run import train as run

        run(read, tracked.log_epoch)


@main.command()
@_stage
def evaluate() -> None:
    """Measure the model and the baseline on test rows."""
    from merit.evaluation.evaluate import evaluate as run

    run(_read_with_its_code())


@main.command()
@_stage
def package() -> None:
    """Make the package: one graph from raw columns to probability, checked against the network."""
    from merit.packaging.package import package as run

    parity = run(_read_with_its_code())["parity"]
    click.echo(f"{artifacts.PACKAGE}/: parity {parity['greatest_difference']:.1e} on {parity['rows']:,} rows")


@main.command()
@click.argument("only", required=False, type=click.Choice(["data", "model"]))
@click.option(
    "--against",
    metavar="REF",
    help="Compare with the champion of this commit [default: the merge base with main].",
)
def gate(only: Literal["data", "model"] | None, against: str | None) -> None:
    """Judge the candidate; exit 0 only if it passes. `data` judges no more than the data, before any training."""
    from merit.config import lock
    from merit.gate import judge, terminal

    report = judge.gate(lock.read(), against, only)
    terminal.show(report)
    sys.exit(report["verdict"] != "pass")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def report(file: Path) -> None:
    """Tell a pull request what FILE, the report of its run, says: one comment, one status. For a workflow's step."""
    from merit.gate.post import post

    click.echo(post(file))


@main.command()
@click.argument("ref", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def diff(ref: str | None, as_json: bool) -> None:
    """Show how config, data, metrics and package differ from REF [default: the merge base with main]; 1 if they do."""
    import json

    from merit.gate import diff as room

    found = room.diff(ref)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(room.lines(found)))
    sys.exit(int(found["differs"]))


@main.command()
def register() -> None:
    """Judge the package and, if it passes, register it as a version of the model."""
    from merit.config import lock
    from merit.gate import judge
    from merit.registry.versions import register as run
    from merit.tracking.runs import record

    read = lock.read()
    report = judge.gate(read)
    click.echo(f"{read.name} version {run(read, record(read), report)}")


@main.command()
@overrides
def run(overrides: tuple[str, ...]) -> None:
    """Do the whole path: compose, run what is stale, gate, register, and print the verdict."""
    from merit import pipeline
    from merit.gate import terminal

    outcome = pipeline.run(overrides)
    terminal.show(outcome.report)
    if outcome.version is None:
        click.echo("next:    change conf/ and 'merit run' again")
        sys.exit(1)
    click.echo(
        f"version: {outcome.report['model']} {outcome.version} in the registry\nnext:    'merit serve', then call it"
    )


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Listen here instead of on serve.port.")
def serve(port: int | None) -> None:
    """Start the endpoint over model/; it listens on loopback."""
    from merit.config import lock
    from merit.serving.serve import serve as run

    how = lock.read().serve
    run(how if port is None else how.model_copy(update={"port": port}), _registered_version())


@main.group()
def workflow() -> None:
    """Steps of the workflows lock.yml and train.yml; docs/gitops.md says what each may do."""


@workflow.command("lock-asked")
def lock_asked() -> None:
    """Say which commit of which branch is to be locked; exit 1 if who asks may not."""
    from merit import github
    from merit.gitops import locking

    asked = locking.asked()
    github.output(**asked)
    click.echo(f"{asked['branch']} at {asked['sha'][:7]} is to be locked")


@workflow.command("push-outputs")
@click.argument("folder", type=click.Path(path_type=Path))
def push_outputs(folder: Path) -> None:
    """Bring the outputs in FOLDER, made by another job, to DVC's remote."""
    from merit.gitops import locking

    click.echo(locking.push_outputs(folder))


@workflow.command("push-lock")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--branch", required=True, envvar="BRANCH")
@click.option("--sha", required=True, envvar="SHA", help="What the lock was computed for.")
def push_lock(folder: Path, branch: str, sha: str) -> None:
    """Commit params.yaml and dvc.lock of FOLDER to BRANCH, if it still is at SHA."""
    from merit.gitops import locking

    click.echo(f"{branch}: {locking.push_lock(folder, branch, sha)[:7]}")


@workflow.command()
@click.option("--overrides", required=True, envvar="OVERRIDES")
def trials(overrides: str) -> None:
    """Say which trials OVERRIDES ask for, as a matrix."""
    import json

    from merit import github
    from merit.gitops import training

    found = training.trials(overrides)
    github.output(trials=json.dumps(found))
    click.echo("".join(f"{trial['number']}: {trial['overrides']}\n" for trial in found), nl=False)


@workflow.command()
@click.option("--name", required=True, envvar="NAME")
@click.option("--overrides", required=True, envvar="OVERRIDES")
def adopt(name: str, overrides: str) -> None:
    """Write OVERRIDES into conf/ as the experiment NAME, and choose it."""
    from merit.gitops import training

    click.echo(training.adopt(name, overrides))


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
def choose(folder: Path) -> None:
    """Say which of the trials in FOLDER is the best that the gate passed; exit 1 if none."""
    from merit import github
    from merit.gitops import training

    best, _ = training.winner(folder)
    github.output(folder=str(best.folder))
    click.echo(f"{best.folder.name}: {best.monitor} {best.score:.4f}")


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, envvar="NAME")
@click.option("--sha", required=True, envvar="SHA", help="What the trials began from.")
def propose(folder: Path, name: str, sha: str) -> None:
    """Open a pull request with the best of the trials in FOLDER."""
    from merit.gitops import training

    click.echo(training.propose(folder, name, sha))


def _read_with_its_code() -> "Lock":
    """Return the lock, for a stage that builds what conf/ names, if that code is still the one it was made for."""
    from merit.config import lock, trust

    read = lock.read()
    trust.refuse_other_code(read.code)
    return read


def _registered_version() -> str | None:
    """Return the registered version of the package in model/, if `merit run` registered this very one."""
    if not artifacts.REGISTRATION.is_file():
        return None
    receipt = artifacts.read_json(artifacts.REGISTRATION, "register")
    return receipt.get("version") if receipt.get("package") == artifacts.package_digest(artifacts.PACKAGE) else None
