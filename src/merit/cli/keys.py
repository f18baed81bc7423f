"""Commands for the endpoint's API keys: keys add, keys list, keys revoke."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from merit import artifacts
from merit.cli.group import main
from merit.cli.options import json_option
from merit.console import logging, output
from merit.errors import MeritError, Refused

if TYPE_CHECKING:
    from merit.config.schema.serve import Auth
    from merit.serving.auth.api_keys import Key

DEFAULT_KEYS_FILE = "keys.yaml"
SHOWN_HASH_CHARACTERS = len("sha256:") + 8

file_option = click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help=f"The file of key hashes [default: serve.auth.keys, or {DEFAULT_KEYS_FILE}].",
)


@main.group(name="keys")
def keys_group() -> None:
    """Create, list and revoke API keys of the endpoint; the file stores only their hashes."""


@keys_group.command()
@click.argument("name")
@click.option("--expires", metavar="YYYY-MM-DD", help="The first day on which the key is no longer valid, in UTC.")
@click.option("--quota", type=click.IntRange(min=1), help="Maximum requests per minute.")
@click.option(
    "--role", "roles", multiple=True, help="predict, feedback or metrics; may be repeated [default: the first two]."
)
@file_option
def add(name: str, expires: str | None, quota: int | None, roles: tuple[str, ...], file: Path | None) -> None:
    """Create a key for NAME and print it once; existing keys of NAME stay valid."""
    from merit.serving.auth import api_keys

    path = _resolve_path(file)
    if unknown_roles := sorted(set(roles) - set(api_keys.ROLES)):
        raise MeritError(f"--role {unknown_roles[0]}: unknown role; allowed: {', '.join(api_keys.ROLES)}")
    secret, entry = api_keys.create_key(
        name, expires=_parse_expiry(expires), quota=quota, roles=roles or ("predict", "feedback")
    )
    with api_keys.lock_key_file(path):
        artifacts.write_text(path, api_keys.render_keys([*_read_keys(path), entry]))
    logging.logger.info("%s", f"{path}: a key for {name}; keep it, it is shown this once")
    output.print_result(secret)
    if file is None and (note := _note_unused_keys()):
        logging.logger.warning("%s", note)


@keys_group.command(name="list")
@file_option
@json_option
def list_keys(file: Path | None, as_json: bool) -> None:
    """List the keys: the first characters of the hash, name, dates, quota and roles."""
    path = _resolve_path(file)
    if not (keys := _read_keys(path)):
        raise MeritError(f"{path}: not found; 'merit keys add NAME' makes it")
    if as_json:
        output.print_json([_describe_key(key) for key in keys])
        return
    rows = [("hash", "name", "made", "expires", "a minute", "roles"), *map(_format_row, keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _describe_key(key: "Key") -> dict[str, Any]:
    """Return what the table shows of a key, for JSON."""
    return {
        "hash": key.hash[:SHOWN_HASH_CHARACTERS],
        "name": key.name,
        "created": None if key.created is None else str(key.created),
        "expires": None if key.expires is None else str(key.expires),
        "expired": _is_expired(key),
        "quota": key.quota,
        "roles": list(key.roles),
    }


def _is_expired(key: "Key") -> bool:
    return key.expires is not None and key.expires <= datetime.now(UTC).date()


def _format_row(key: "Key") -> tuple[str, ...]:
    expiry_text = "never" if key.expires is None else str(key.expires)
    quota_text = "no limit" if key.quota is None else str(key.quota)
    return (
        key.hash[:SHOWN_HASH_CHARACTERS],
        key.name,
        str(key.created or ""),
        expiry_text + " (expired)" * _is_expired(key),
        quota_text,
        "+".join(key.roles),
    )


@keys_group.command()
@click.argument("name")
@click.option("--hash", "start", help="Only the key whose hash starts with this text, as 'merit keys list' shows it.")
@file_option
def revoke(name: str, start: str | None, file: Path | None) -> None:
    """Revoke the keys of NAME; a running endpoint rejects them within two seconds."""
    from merit.serving.auth import api_keys

    path = _resolve_path(file)
    if not path.is_file():
        raise MeritError(f"{path}: not found; 'merit keys add NAME' makes it")
    with api_keys.lock_key_file(path):
        keys = _read_keys(path)
        revoked = [key for key in keys if key.name == name and (start is None or key.hash.startswith(start))]
        remaining = [key for key in keys if key not in revoked]
        if not revoked:
            names = ", ".join(sorted({key.name for key in keys}))
            raise Refused(f"{path}: has no such key of {name!r}; it has keys of {names}")
        if not remaining:
            raise Refused(
                f"{path}: this is the last key: without one the endpoint does not start, and a running one keeps "
                "accepting it; add another first"
            )
        artifacts.write_text(path, api_keys.render_keys(remaining))
    click.echo(f"{path}: {len(revoked)} revoked, {len(remaining)} left")


def _resolve_path(file: Path | None) -> Path:
    return file or Path((auth.keys if (auth := _read_auth_settings()) else None) or DEFAULT_KEYS_FILE)


def _read_auth_settings() -> "Auth | None":
    from merit.config import lock

    return lock.read_lock().serve.auth if artifacts.LOCK.is_file() else None


def _note_unused_keys() -> str:
    """Return a note if the endpoint is not configured to check keys; empty if it is."""
    if (auth := _read_auth_settings()) is None or auth.method == "keys":
        return ""
    return (
        f"but serve.auth.method is {auth.method} in {artifacts.LOCK}, so the endpoint asks for no key: set "
        "serve.auth in conf/serve, 'merit compose', then start it again"
    )


def _read_keys(path: Path) -> "list[Key]":
    from merit.serving.auth import api_keys

    if not path.exists():
        return []
    try:
        return api_keys.parse_keys(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise MeritError(f"{path}: is not a text file; name another file, or restore this one") from error


def _parse_expiry(text: str | None) -> date | None:
    try:
        day = None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise MeritError(f"--expires {text}: not a date; give one such as 2027-01-31") from error
    if day is not None and day <= (today := datetime.now(UTC).date()):
        raise MeritError(f"--expires {text}: the key would have expired already; give a day after {today} (UTC)")
    return day
