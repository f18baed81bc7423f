"""Commands for the endpoint's API keys: keys add, keys list, keys revoke."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from merit import artifacts
from merit.cli.group import main
from merit.errors import MeritError, Refused

if TYPE_CHECKING:
    from merit.config.schema.serve import Auth
    from merit.serving.auth.api_keys import Key

DEFAULT = "keys.yaml"
SHOWN = len("sha256:") + 8

kept = click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help=f"The file of key hashes [default: serve.auth.keys, or {DEFAULT}].",
)


@main.group(name="keys")
def keys_() -> None:
    """Create, list and revoke API keys of the endpoint; the file stores only their hashes."""


@keys_.command()
@click.argument("name")
@click.option("--expires", metavar="YYYY-MM-DD", help="The first day on which the key is no longer valid, in UTC.")
@click.option("--quota", type=click.IntRange(min=1), help="Maximum requests per minute.")
@click.option(
    "--role", "roles", multiple=True, help="predict, feedback or metrics; may be repeated [default: the first two]."
)
@kept
def add(name: str, expires: str | None, quota: int | None, roles: tuple[str, ...], file: Path | None) -> None:
    """Create a key for NAME and print it once; existing keys of NAME stay valid."""
    from merit.serving.auth import api_keys

    path = _path(file)
    if unknown := sorted(set(roles) - set(api_keys.ROLES)):
        raise MeritError(f"--role {unknown[0]}: unknown role; allowed: {', '.join(api_keys.ROLES)}")
    drawn, entry = api_keys.create_key(name, expires=_day(expires), quota=quota, roles=roles or ("predict", "feedback"))
    with api_keys.lock_key_file(path):
        artifacts.write_text(path, api_keys.render_keys([*_read(path), entry]))
    click.echo(f"{path}: a key for {name}; keep it, it is shown this once", err=True)
    click.echo(drawn)
    if file is None and (unasked := _unasked()):
        click.echo(unasked, err=True)


@keys_.command(name="list")
@kept
def list_(file: Path | None) -> None:
    """List the keys: the first characters of the hash, name, dates, quota and roles."""
    path = _path(file)
    if not (listed := _read(path)):
        raise MeritError(f"{path}: not found; 'merit keys add NAME' makes it")
    rows = [("hash", "name", "made", "expires", "a minute", "roles"), *map(_row, listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(key: "Key") -> tuple[str, ...]:
    ends = "never" if key.expires is None else str(key.expires)
    ended = key.expires is not None and key.expires <= datetime.now(UTC).date()
    quota = "no limit" if key.quota is None else str(key.quota)
    return key.hash[:SHOWN], key.name, str(key.created or ""), ends + " (expired)" * ended, quota, "+".join(key.roles)


@keys_.command()
@click.argument("name")
@click.option("--hash", "start", help="Only the key whose hash starts with this text, as 'merit keys list' shows it.")
@kept
def revoke(name: str, start: str | None, file: Path | None) -> None:
    """Revoke the keys of NAME; a running endpoint rejects them within two seconds."""
    from merit.serving.auth import api_keys

    path = _path(file)
    if not path.is_file():
        raise MeritError(f"{path}: not found; 'merit keys add NAME' makes it")
    with api_keys.lock_key_file(path):
        listed = _read(path)
        gone = [key for key in listed if key.name == name and (start is None or key.hash.startswith(start))]
        left = [key for key in listed if key not in gone]
        if not gone:
            others = ", ".join(sorted({key.name for key in listed}))
            raise Refused(f"{path}: has no such key of {name!r}; it has keys of {others}")
        if not left:
            raise Refused(
                f"{path}: this is the last key: without one the endpoint does not start, and a running one keeps "
                "accepting it; add another first"
            )
        artifacts.write_text(path, api_keys.render_keys(left))
    click.echo(f"{path}: {len(gone)} revoked, {len(left)} left")


def _path(file: Path | None) -> Path:
    return file or Path((declared.keys if (declared := _declared()) else None) or DEFAULT)


def _declared() -> "Auth | None":
    from merit.config import lock

    return lock.read_lock().serve.auth if artifacts.LOCK.is_file() else None


def _unasked() -> str:
    """Return a note if the endpoint is not configured to check keys; empty if it is."""
    if (declared := _declared()) is None or declared.method == "keys":
        return ""
    return (
        f"but serve.auth.method is {declared.method} in {artifacts.LOCK}, so the endpoint asks for no key: set "
        "serve.auth in conf/serve, 'merit compose', then start it again"
    )


def _read(path: Path) -> "list[Key]":
    from merit.serving.auth import api_keys

    if not path.exists():
        return []
    try:
        return api_keys.parse_keys(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise MeritError(f"{path}: is not a text file; name another file, or restore this one") from error


def _day(text: str | None) -> date | None:
    try:
        day = None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise MeritError(f"--expires {text}: not a date; give one such as 2027-01-31") from error
    if day is not None and day <= (today := datetime.now(UTC).date()):
        raise MeritError(f"--expires {text}: the key would have expired already; give a day after {today} (UTC)")
    return day
