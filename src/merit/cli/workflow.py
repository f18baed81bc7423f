"""Commands for the steps of GitHub workflows: workflow ..."""

from pathlib import Path

import click

from merit.cli.group import main


@main.group(hidden=True)
def workflow() -> None:
    """Steps that only the GitHub workflows call; docs/how-to/pull-requests.md describes them and their permissions."""


@workflow.command("lock-asked")
def read_lock_request() -> None:
    """Print the branch and commit that a /lock comment requests; exit 1 if its author has no write permission."""
    from merit import github
    from merit.ci import lock as ci_lock

    request = ci_lock.authorize_request()
    github.write_outputs(**request)
    click.echo(f"{request['branch']} at {request['sha'][:7]} is to be locked")


@workflow.command("push-outputs")
@click.argument("folder", type=click.Path(path_type=Path))
def push_outputs(folder: Path) -> None:
    """Upload the outputs in FOLDER, computed by another job, to DVC's remote."""
    from merit.ci import lock as ci_lock

    click.echo(ci_lock.push_outputs(folder))


@workflow.command("push-lock")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--branch", required=True, envvar="BRANCH")
@click.option("--sha", required=True, envvar="SHA", help="The commit that the lock was computed for.")
def push_lock(folder: Path, branch: str, sha: str) -> None:
    """Commit params.yaml and dvc.lock of FOLDER to BRANCH, if BRANCH is still at SHA."""
    from merit.ci import lock as ci_lock

    click.echo(f"{branch}: {ci_lock.push_lock(folder, branch, sha)[:7]}")


@workflow.command()
@click.option("--overrides", required=True, envvar="OVERRIDES")
def trials(overrides: str) -> None:
    """Print the trials that OVERRIDES define, as a job matrix; exit 1 if the workflow was not started on main."""
    import json

    from merit import github
    from merit.ci import train

    train.require_main()
    matrix = train.parse_trials(overrides)
    github.write_outputs(trials=json.dumps(matrix))
    click.echo("".join(f"{trial['number']}: {trial['overrides']}\n" for trial in matrix), nl=False)


@workflow.command()
@click.option("--name", required=True, envvar="NAME")
@click.option("--overrides", required=True, envvar="OVERRIDES")
def adopt(name: str, overrides: str) -> None:
    """Write OVERRIDES to conf/ as the experiment NAME and select it."""
    from merit.ci import train

    click.echo(train.adopt_overrides(name, overrides))


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
def choose(folder: Path) -> None:
    """Print the best trial in FOLDER that passed the gate; exit 1 if none did."""
    from merit import github
    from merit.ci import train

    best, _ = train.select_winner(folder)
    github.write_outputs(folder=str(best.folder))
    click.echo(f"{best.folder.name}: {best.monitor} {best.score:.4f}")


@workflow.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, envvar="NAME")
@click.option("--sha", required=True, envvar="SHA", help="The commit that the trials started from.")
def propose(folder: Path, name: str, sha: str) -> None:
    """Open a pull request with the best trial in FOLDER."""
    from merit.ci import train

    click.echo(train.propose_winner(folder, name, sha))


@workflow.command()
def version() -> None:
    """Print the version of the package in model/ and the image registry."""
    import os

    from merit import github
    from merit.ci import release
    from merit.config import lock

    project_lock = lock.read_lock()
    main_version = release.find_main_version(project_lock)
    registry = os.environ.get("MERIT_REGISTRY") or project_lock.release.registry or ""
    github.write_outputs(version=main_version.name, registry=registry, host=registry.partition("/")[0])
    click.echo(main_version.name)


@workflow.command()
def login() -> None:
    """Log in to the image registry as REGISTRY_USER with REGISTRY_PASSWORD."""
    from merit.config import lock
    from merit.release.login import log_in

    click.echo(log_in(lock.read_lock().release))


@workflow.command()
@click.argument("version", envvar="VERSION")
def image(version: str) -> None:
    """Print the name and digest of VERSION's image."""
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
    """Open a pull request that declares a version in ENVIRONMENT's file."""
    from merit.ci import release
    from merit.config import lock

    click.echo(release.propose_promotion(version, environment, lock.read_lock(), sha))


@workflow.command()
def environments() -> None:
    """Print the environments that the event changed, as a job matrix in the order of deployment."""
    import json

    from merit import github
    from merit.ci import release

    changed = release.find_changed_environments()
    github.write_outputs(environments=json.dumps(changed))
    click.echo(", ".join(changed) or "none")


@workflow.command()
def plans() -> None:
    """Plan each environment that the pull request changed; exit 2 if one is refused."""
    import sys

    from merit.ci import plan_comment, release
    from merit.config import lock

    results = plan_comment.write_plans(release.find_changed_environments(), lock.read_lock())
    for result in results:
        click.echo(
            "\n".join(result.lines) if result.error is None else f"{result.environment}: refused\n{result.error}"
        )
    sys.exit(2 if any(each.error is not None for each in results) else 0)


@workflow.command("tell-plans")
@click.argument("file", type=click.Path(path_type=Path))
def post_plans(file: Path) -> None:
    """Post FILE, the plans of a run, to its pull request as one comment."""
    from merit.ci import plan_comment

    click.echo(plan_comment.report_plans(file))
