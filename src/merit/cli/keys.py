"""keys: who may ask the endpoint."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from merit import artifacts
from merit.cli.group import main
from merit.errors import MeritError, Refused

if TYPE_CHECKING:
    from merit.serving.keys import Key

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
    from merit.serving import keys

    path = _path(file)
    listed = _read(path)
    if unknown := sorted(set(roles) - set(keys.ROLES)):
        raise MeritError(f"--role {unknown[0]}: no role; allowed: {', '.join(keys.ROLES)}")
    drawn, entry = keys.made(name, expires=_day(expires), quota=quota, roles=roles or ("predict", "feedback"))
    artifacts.write_text(path, keys.text([*listed, entry]))
    click.echo(f"{path}: a key for {name}; keep it, it is shown this once", err=True)
    click.echo(drawn)


@keys_.command(name="list")
@kept
def list_(file: Path | None) -> None:
    """Show whose keys there are, by the beginning of their hashes."""
    path = _path(file)
    if not (listed := _read(path)):
        raise MeritError(f"{path}: not found; 'merit keys add NAME' makes it")
    today = datetime.now(UTC).date()
    for key in listed:
        ends = "never expires" if key.expires is None else f"expires {key.expires}"
        ended = " (expired)" if key.expires is not None and key.expires <= today else ""
        quota = "no quota" if key.quota is None else f"{key.quota} a minute"
        made = f"made {key.created}, " if key.created else ""
        click.echo(f"{key.hash[:SHOWN]}  {key.name}  {made}{ends}{ended}, {quota}, {'+'.join(key.roles)}")


@keys_.command()
@click.argument("name")
@click.option("--hash", "start", help="Only the key whose hash begins so, as 'merit keys list' shows it.")
@kept
def revoke(name: str, start: str | None, file: Path | None) -> None:
    """Take the keys of NAME away; a running endpoint knows within a second or two."""
    from merit.serving import keys

    path = _path(file)
    listed = _read(path)
    gone = [key for key in listed if key.name == name and (start is None or key.hash.startswith(start))]
    if not gone:
        others = ", ".join(sorted({key.name for key in listed})) or "nobody"
        raise Refused(f"{path}: has no such key of '{name}'; it has keys of {others}")
    if len(gone) == len(listed):
        raise Refused(
            f"{path}: that is the last key, and without one the endpoint does not start and goes on with what it had; "
            "add another first"
        )
    artifacts.write_text(path, keys.text([key for key in listed if key not in gone]))
    click.echo(f"{path}: {len(gone)} revoked, {len(listed) - len(gone)} left")


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    from merit.config import lock

    declared = lock.read().serve.auth.keys if artifacts.LOCK.is_file() else None
    return Path(declared or DEFAULT)


def _read(path: Path) -> "list[Key]":
    from merit.serving import keys

    return keys.read(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else []


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise MeritError(f"--expires {text}: no day; such as 2027-01-31") from error
