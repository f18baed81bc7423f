"""Commands for versions and the endpoint: register, sign, registry, serve."""

import sys
from pathlib import Path
from typing import Any

import click

from merit import artifacts
from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import logging, output
from merit.errors import Refused, require_modules


@main.command()
@json_option
def register(as_json: bool) -> None:
    """Register main's package as the next version: a Git tag with its lineage, copied to MLflow.

    A package that is a version already is not registered again.
    """
    from merit.config import lock
    from merit.config.compose import compose

    project_lock = lock.read_lock()
    if lock.diff_lock(compose(data_access="files")):
        raise Refused(
            "register: params.yaml is not what conf/ says ('merit compose --check' shows how); where overrides "
            "made it, say the same in conf/; then 'merit run', and commit conf, params.yaml and dvc.lock"
        )
    from merit.registry import mlflow
    from merit.registry.register import register as run

    version, is_new = run(project_lock, lambda against: _load_or_run_gate(project_lock, against), logging.logger.info)
    if as_json:
        payload = {"version": version.name, "made": is_new, "lineage": version.lineage.model_dump(mode="json")}
        output.print_json(payload)
    else:
        click.echo(f"{version.name}: {'made' if is_new else 'is this package already'}, on {version.commit[:7]}")
    if mlflow_note := mlflow.project_to_mlflow(project_lock, version):
        click.echo(f"MLflow: {mlflow_note}", err=as_json)


@main.command()
@click.argument("version")
def sign(version: str) -> None:
    """Sign VERSION, such as flights@v3 or v3, if `merit register` created it without a signature."""
    from merit.config.current_lock import read_current_lock
    from merit.registry import mlflow
    from merit.registry.sign import sign_version as run

    project_lock = read_current_lock("release")
    signed, is_new = run(project_lock, version)
    short_name = signed.short_name
    click.echo(
        f"{signed.name}: {'signed' if is_new else 'is signed already'}; 'merit registry show {short_name}' verifies it"
    )
    if mlflow_note := mlflow.project_to_mlflow(project_lock, signed):
        click.echo(f"MLflow: {mlflow_note}")


def _load_or_run_gate(lock: Any, ref: str | None) -> dict[str, Any]:
    """Return the last gate report if it is still current, else the report of a new gate run."""
    from merit.gate import freshness, judge

    return freshness.load_current_report(lock, ref) or judge.gate(lock, ref)


@main.group()
def registry() -> None:
    """Inspect the registered versions; Git tags are the source of truth, MLflow a copy."""


@registry.command("list")
@json_option
def list_versions(as_json: bool) -> None:
    """List the versions with creation time, metrics, verdict, image and environments."""
    from merit import git
    from merit.config import lock
    from merit.registry import display, queries

    name = lock.read_lock().name
    versions = queries.list_versions(name)
    if as_json:
        output.print_json(versions)
    elif versions:
        display.print_versions(versions)
    else:
        click.echo(f"{name}: no versions here; 'merit register' makes one, {git.suggest_fetch_command()} brings others")
    from merit.registry import tags

    for tag, reason in tags.find_malformed_tags(name).items():
        logging.logger.warning("note: %s: %s", tag, reason)


@registry.command()
@click.argument("version")
@json_option
def show(version: str, as_json: bool) -> None:
    """Show the lineage of VERSION, such as flights@v3 or v3, and whether its signature is valid."""
    from merit.config import lock
    from merit.registry import display, queries

    details = queries.show_version(lock.read_lock(), version)
    if as_json:
        output.print_json(details)
    else:
        display.print_version(details)


@registry.command()
@click.argument("environment", required=False)
@json_option
def history(environment: str | None, as_json: bool) -> None:
    """Show which versions ENVIRONMENT [default: all] declared on main: the period, who merged it, and why."""
    from merit.config import lock
    from merit.registry import display, queries

    entries = queries.list_history(lock.read_lock().name, environment)
    if as_json:
        output.print_json(entries)
    elif entries:
        display.print_history(entries)
    else:
        click.echo("main declares no environment yet; conf/environment/ holds them")


@registry.command()
@click.argument("before")
@click.argument("after")
@json_option
def diff(before: str, after: str, as_json: bool) -> None:
    """Show how versions BEFORE and AFTER differ in parameters, data and metrics; exit 1 if their packages differ."""
    from merit.config import lock
    from merit.gate import config_change
    from merit.registry import display, queries, tags

    name = lock.read_lock().name
    versions = [tags.find_version(tags.complete_name(name, ref)) for ref in (before, after)]
    old, new = (config_change.read_params_at(version.commit) for version in versions)
    differences = {
        "before": versions[0].name,
        "after": versions[1].name,
        "hashes": queries.compare_hashes(*versions),
        "metrics": queries.compare_metrics(*versions),
        "config": None if old is None or new is None else config_change.list_changed_keys(old, new),
    }
    if as_json:
        output.print_json(differences)
    else:
        display.print_comparison(differences)
    sys.exit(int(versions[0].lineage.package != versions[1].lineage.package))


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
@json_option
def check(as_json: bool) -> None:
    """List where MLflow differs from Git; exit 0 if nowhere, 1 if it does, 2 if one of them can't be read."""
    from dataclasses import asdict

    from merit.config import lock
    from merit.registry.rebuild import find_differences

    mismatches = find_differences(lock.read_lock())
    if as_json:
        output.print_json([asdict(mismatch) for mismatch in mismatches])
    else:
        click.echo("\n".join(map(str, mismatches)) if mismatches else "MLflow shows what Git says")
        if mismatches:
            logging.show_line("next:    'merit registry rebuild' makes MLflow show what Git says")
    sys.exit(int(bool(mismatches)))


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on [default: serve.port].")
def serve(port: int | None) -> None:
    """Start the HTTP endpoint for the package in model/; by default it listens only on loopback."""
    require_modules("merit serve", "bentoml", "circus", "httptools", "uvloop")
    from merit.config.current_lock import read_current_lock
    from merit.serving.server.serve import serve as run

    project_lock = read_current_lock("serve")
    settings = project_lock.serve if port is None else project_lock.serve.model_copy(update={"port": port})
    run(settings, find_version(artifacts.PACKAGE), project_lock.release.signing, find_commit(artifacts.PACKAGE))


def find_commit(package: Path) -> str | None:
    """Return the commit that predictions of a package report; None without a package or a commit of it in Git."""
    from merit.registry import tags

    return tags.find_origin(package) if (package / artifacts.MANIFEST).is_file() else None


def find_version(package: Path) -> str | None:
    """Return the version that predictions of a package report, such as `v3`; None if the package is not registered."""
    from merit.registry import tags

    version = tags.find_package_version(package) if (package / artifacts.MANIFEST).is_file() else None
    return None if version is None else version.short_name
