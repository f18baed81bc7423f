"""Commands for versions and the endpoint: register, sign, registry, serve."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from merit import artifacts
from merit.cli.group import main
from merit.errors import Refused

as_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@main.command()
@as_json
def register(as_json: bool) -> None:
    """Register main's package as the next version: a Git tag with its lineage, copied to MLflow.

    A package that is a version already is not registered again.
    """
    from merit.config import lock
    from merit.config.compose import compose

    read = lock.read_lock()
    if lock.diff_lock(compose(data_access="files")):
        raise Refused(
            "register: params.yaml is not what conf/ says ('merit compose --check' shows how); where overrides "
            "made it, say the same in conf/; then 'merit run', and commit conf, params.yaml and dvc.lock"
        )
    from merit.registry import mlflow
    from merit.registry.register import register as run

    version, made = run(read, lambda against: _judged(read, against), lambda line: click.echo(line, err=True))
    if as_json:
        told = {"version": version.name, "made": made, "lineage": version.lineage.model_dump(mode="json")}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{version.name}: {'made' if made else 'is this package already'}, on {version.commit[:7]}")
    if done := mlflow.project_to_mlflow(read, version):
        click.echo(f"MLflow: {done}", err=as_json)


@main.command()
@click.argument("version")
def sign(version: str) -> None:
    """Sign VERSION, such as flights@v3 or v3, if `merit register` created it without a signature."""
    from merit.config import lock
    from merit.registry import mlflow
    from merit.registry.sign import sign_version as run

    read = lock.read_current_lock("release")
    signed, is_new = run(read, version)
    number = signed.short_name
    click.echo(
        f"{signed.name}: {'signed' if is_new else 'is signed already'}; 'merit registry show {number}' verifies it"
    )
    if done := mlflow.project_to_mlflow(read, signed):
        click.echo(f"MLflow: {done}")


def _judged(read: Any, against: str | None) -> dict[str, Any]:
    """Return the last gate report if it is still current, else the report of a new gate run."""
    from merit.gate import freshness, judge

    return freshness.load_current_report(read, against) or judge.gate(read, against)


@main.group()
def registry() -> None:
    """Inspect the registered versions; Git tags are the source of truth, MLflow a copy."""


@registry.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the versions with creation time, metrics, verdict, image and environments."""
    from merit import git
    from merit.config import lock
    from merit.registry import display
    from merit.registry import queries as read

    name = lock.read_lock().name
    found = read.list_versions(name)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        display.print_versions(found)
    else:
        click.echo(f"{name}: no versions here; 'merit register' makes one, {git.suggest_fetch_command()} brings others")
    from merit.registry import tags

    for tag, reason in tags.find_malformed_tags(name).items():
        click.echo(f"note: {tag}: {reason}", err=True)


@registry.command()
@click.argument("version")
@as_json
def show(version: str, as_json: bool) -> None:
    """Show the lineage of VERSION, such as flights@v3 or v3, and whether its signature is valid."""
    from merit.config import lock
    from merit.registry import display
    from merit.registry import queries as read

    found = read.show_version(lock.read_lock(), version)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        display.print_version(found)


@registry.command()
@click.argument("environment", required=False)
@as_json
def history(environment: str | None, as_json: bool) -> None:
    """Show which versions ENVIRONMENT [default: all] declared on main: the period, who merged it, and why."""
    from merit.config import lock
    from merit.registry import display
    from merit.registry import queries as read

    found = read.list_history(lock.read_lock().name, environment)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        display.print_history(found)
    else:
        click.echo("main declares no environment yet; conf/environment/ holds them")


@registry.command()
@click.argument("before")
@click.argument("after")
@as_json
def diff(before: str, after: str, as_json: bool) -> None:
    """Show how versions BEFORE and AFTER differ in parameters, data and metrics; exit 1 if their packages differ."""
    from merit.config import lock
    from merit.gate import change
    from merit.registry import display, tags
    from merit.registry import queries as read

    name = lock.read_lock().name
    sides = [tags.find_version(tags.complete_name(name, each)) for each in (before, after)]
    old, new = (change.read_params_at(side.commit) for side in sides)
    found = {
        "before": sides[0].name,
        "after": sides[1].name,
        "hashes": read.compare_hashes(*sides),
        "metrics": read.compare_metrics(*sides),
        "config": None if old is None or new is None else change.list_changed_keys(old, new),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        display.print_comparison(found)
    sys.exit(int(sides[0].lineage.package != sides[1].lineage.package))


@registry.command()
def rebuild() -> None:
    """Rebuild MLflow's versions, tags, files and aliases from Git tags and DVC; correct entries stay."""
    from merit.config import lock
    from merit.registry.rebuild import rebuild_projection as run

    count = 0
    for line in run(lock.read_lock()):
        click.echo(line)
        count += 1
    click.echo(f"done: {count} changes" if count != 1 else "done: 1 change")


@registry.command()
@as_json
def check(as_json: bool) -> None:
    """List where MLflow differs from Git; exit 0 if nowhere, 1 if it does, 2 if one of them can't be read."""
    from dataclasses import asdict

    from merit.config import lock
    from merit.registry.rebuild import find_differences

    found = find_differences(lock.read_lock())
    if as_json:
        click.echo(json.dumps([asdict(fault) for fault in found], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(str, found)) if found else "MLflow shows what Git says")
        if found:
            click.echo("next:    'merit registry rebuild' makes MLflow show what Git says")
    sys.exit(int(bool(found)))


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on [default: serve.port].")
def serve(port: int | None) -> None:
    """Start the HTTP endpoint for the package in model/; by default it listens only on loopback."""
    from merit.config import lock
    from merit.serving.server.serve import serve as run

    read = lock.read_current_lock("serve")
    how = read.serve if port is None else read.serve.model_copy(update={"port": port})
    run(how, version_of(artifacts.PACKAGE), read.release.signing, commit_of(artifacts.PACKAGE))


def commit_of(package: Path) -> str | None:
    """Return the commit that predictions of a package report; None without a package or a commit of it in Git."""
    from merit.registry import tags

    return tags.find_origin(package) if (package / artifacts.MANIFEST).is_file() else None


def version_of(package: Path) -> str | None:
    """Return the version that predictions of a package report, such as `v3`; None if the package is not registered."""
    from merit.registry import tags

    version = tags.find_package_version(package) if (package / artifacts.MANIFEST).is_file() else None
    return None if version is None else version.short_name
