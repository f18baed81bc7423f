"""keys: who may ask the endpoint."""

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
    help=f"The file of the hashes; default: serve.auth.keys, or {DEFAULT}.",
)


@main.group(name="keys")
def keys_() -> None:
    """Make, list and revoke API keys; the file has only their hashes."""


@keys_.command()
@click.argument("name")
@click.option("--expires", metavar="YYYY-MM-DD", help="The day from which on it is not taken any more, in UTC.")
@click.option("--quota", type=click.IntRange(min=1), help="Requests a minute.")
@click.option(
    "--role", "roles", multiple=True, help="predict, feedback or metrics; may be repeated; default: the first two."
)
@kept
def add(name: str, expires: str | None, quota: int | None, roles: tuple[str, ...], file: Path | None) -> None:
    """Make a key for NAME and print it, this once; beside it those that NAME has hold on."""
    from merit.serving.auth import api_keys

    path = _path(file)
    if unknown := sorted(set(roles) - set(api_keys.ROLES)):
        raise MeritError(f"--role {unknown[0]}: no role; allowed: {', '.join(api_keys.ROLES)}")
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
    """Show whose keys there are, by the beginning of their hashes."""
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
@click.option("--hash", "start", help="Only the key whose hash begins so, as 'merit keys list' shows it.")
@kept
def revoke(name: str, start: str | None, file: Path | None) -> None:
    """Take the keys of NAME away; a running endpoint knows within a second or two."""
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
                f"{path}: that is the last key, and without one the endpoint does not start and goes on with what it "
                "had; add another first"
            )
        artifacts.write_text(path, api_keys.render_keys(left))
    click.echo(f"{path}: {len(gone)} revoked, {len(left)} left")


def _path(file: Path | None) -> Path:
    return file or Path((declared.keys if (declared := _declared()) else None) or DEFAULT)


def _declared() -> "Auth | None":
    from merit.config import lock

    return lock.read_lock().serve.auth if artifacts.LOCK.is_file() else None


def _unasked() -> str:
    """Return what to do where the endpoint does not ask for keys; empty where it does."""
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
        raise MeritError(f"{path}: is no text; name another file, or put back what it was") from error


def _day(text: str | None) -> date | None:
    try:
        day = None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise MeritError(f"--expires {text}: no day; such as 2027-01-31") from error
    if day is not None and day <= (today := datetime.now(UTC).date()):
        raise MeritError(f"--expires {text}: that key would not hold for a moment; give a day after {today} (UTC)")
    return day
