"""The steps of the workflows."""

from pathlib import Path

import click

from merit.cli.group import main


@main.group()
def workflow() -> None:
    """Steps of the workflows that a laptop has no use for; docs/gitops.md says what each may do."""


@workflow.command("lock-asked")
def lock_asked() -> None:
    """Say which commit of which branch is to be locked; exit 1 if who asks may not."""
    from merit import github
    from merit.ci import lock as locking

    asked = locking.authorize_request()
    github.write_outputs(**asked)
    click.echo(f"{asked['branch']} at {asked['sha'][:7]} is to be locked")


@workflow.command("push-outputs")
@click.argument("folder", type=click.Path(path_type=Path))
def push_outputs(folder: Path) -> None:
    """Bring the outputs in FOLDER, made by another job, to DVC's remote."""
    from merit.ci import lock as locking

    click.echo(locking.push_outputs(folder))


@workflow.command("push-lock")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--branch", required=True, envvar="BRANCH")
@click.option("--sha", required=True, envvar="SHA", help="What the lock was computed for.")
def push_lock(folder: Path, branch: str, sha: str) -> None:
    """Commit params.yaml and dvc.lock of FOLDER to BRANCH, if it still is at SHA."""
    from merit.ci import lock as locking

    click.echo(f"{branch}: {locking.push_lock(folder, branch, sha)[:7]}")


@workflow.command()
@click.option("--overrides", required=True, envvar="OVERRIDES")
def trials(overrides: str) -> None:
    """Say which trials OVERRIDES ask for, as a matrix; exit 1 where the workflow was not started on main."""
    import json

    from merit import github
    from merit.ci import train

    train.require_main()
    found = train.parse_trials(overrides)
    github.write_outputs(trials=json.dumps(found))
    click.echo("".join(f"{trial['number']}: {trial['overrides']}\n" for trial in found), nl=False)


@workflow.command()
@click.option("--name", required=True, envvar="NAME")
@click.option("--overrides", required=True, envvar="OVERRIDES")
def adopt(name: str, overrides: str) -> None:
    """Write OVERRIDES into conf/ as the experiment NAME, and choose it."""
    from merit.ci import train

    click.echo(train.adopt_overrides(name, overrides))


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
def choose(folder: Path) -> None:
    """Say which of the trials in FOLDER is the best that the gate passed; exit 1 if none."""
    from merit import github
    from merit.ci import train

    best, _ = train.select_winner(folder)
    github.write_outputs(folder=str(best.folder))
    click.echo(f"{best.folder.name}: {best.monitor} {best.score:.4f}")


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, envvar="NAME")
@click.option("--sha", required=True, envvar="SHA", help="What the trials began from.")
def propose(folder: Path, name: str, sha: str) -> None:
    """Open a pull request with the best of the trials in FOLDER."""
    from merit.ci import train

    click.echo(train.propose_winner(folder, name, sha))


@workflow.command()
def version() -> None:
    """Say which version the package in model/ is, and where images go."""
    import os

    from merit import github
    from merit.ci import release
    from merit.config import lock

    read = lock.read_lock()
    found = release.find_main_version(read)
    registry = os.environ.get("MERIT_REGISTRY") or read.release.registry or ""
    github.write_outputs(version=found.name, registry=registry, host=registry.partition("/")[0])
    click.echo(found.name)


@workflow.command()
def login() -> None:
    """Log in at the registry of images as REGISTRY_USER with REGISTRY_PASSWORD."""
    from merit.config import lock
    from merit.release.login import log_in as run

    click.echo(run(lock.read_lock().release))


@workflow.command()
@click.argument("version", envvar="VERSION")
def image(version: str) -> None:
    """Say where the image of VERSION is, by name and by digest."""
    from merit import github
    from merit.ci import release

    name, digest = release.find_image(version)
    github.write_outputs(name=name, digest=digest)
    click.echo(f"{name}@{digest}")


@workflow.command("propose-promotion")
@click.argument("environment")
@click.option("--version", required=True, envvar="VERSION")
@click.option("--sha", required=True, envvar="SHA", help="The commit of main that is checked out.")
def propose_promotion(environment: str, version: str, sha: str) -> None:
    """Open a pull request that has ENVIRONMENT declare a version."""
    from merit.ci import release
    from merit.config import lock

    click.echo(release.propose_promotion(version, environment, lock.read_lock(), sha))


@workflow.command()
def environments() -> None:
    """Say which environments the event changed, as a matrix, those first that others come after."""
    import json

    from merit import github
    from merit.ci import release

    found = release.find_changed_environments()
    github.write_outputs(environments=json.dumps(found))
    click.echo(", ".join(found) or "none")


@workflow.command()
def plans() -> None:
    """Plan each environment that the pull request changed; exit 2 if one may not be so."""
    import sys

    from merit.ci import plans as planned
    from merit.ci import release
    from merit.config import lock

    found = planned.write_plans(release.find_changed_environments(), lock.read_lock())
    for each in found:
        click.echo("\n".join(each.lines) if each.error is None else f"{each.environment}: refused\n{each.error}")
    sys.exit(2 if any(each.error is not None for each in found) else 0)


@workflow.command("tell-plans")
@click.argument("file", type=click.Path(path_type=Path))
def tell_plans(file: Path) -> None:
    """Tell a pull request what FILE, the plans of its run, says: one comment."""
    from merit.ci import plans as planned

    click.echo(planned.report_plans(file))
