"""The steps of the workflows."""

from pathlib import Path

import click

from merit.cli.group import main


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
