"""Checks of DVC's default remote: its configuration, whether it can be reached, and whether it has all of dvc.lock."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from merit import artifacts
from merit.console.masking import masked
from merit.doctor.finding import Finding
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.repo import Repo

NAME = "dvc remote"
DRIVERS = {"s3": "s3", "gs": "gs", "azure": "azure", "ssh": "ssh", "gdrive": "gdrive", "webdav": "webdav"}
SECRET_KEYS = ("secret", "password", "token", "connection_string", "account_key", "customer_key")
TIMES = {"connect_timeout": 3, "read_timeout": 3}


def dvc() -> Iterator[Finding]:
    """Check the default remote and its data."""
    from dvc.config import ConfigError
    from dvc.exceptions import DvcException, NotDvcRepoError

    from merit.dvc import repo

    try:
        with repo.opened() as opened:
            yield from _looked_at(opened)
    except NotDvcRepoError:
        yield Finding(NAME, "missing", "DVC is not set up here", "'dvc init', then commit .dvc/")
    except (ConfigError, DvcException) as error:
        yield Finding(NAME, "broken", f".dvc/config: {error}", "correct it")
    except MeritError as error:
        yield Finding(NAME, "broken", str(error), "correct it, or restore it from Git")


def _looked_at(repo: "Repo") -> Iterator[Finding]:
    name = repo.config["core"].get("remote")
    if not name:
        yield _none()
        return
    settings = repo.config["remote"].get(name)
    if settings is None:
        yield Finding(NAME, "broken", f"core.remote is '{name}', which .dvc/config does not describe", "correct it")
        return
    secrets = tuple(str(value) for key, value in settings.items() if any(word in key for word in SECRET_KEYS))
    for found in _of_remote(repo, name, settings):
        yield Finding(found.name, found.state, masked(found.found, secrets), masked(found.do, secrets))


def _none() -> Finding:
    told = "none; data and packages are this machine's alone"
    do = "'dvc remote add --default storage PATH-OR-URL', then 'dvc push'"
    return Finding(NAME, "missing" if _others_fetch() else "note", told, do)


def _others_fetch() -> bool:
    """Return whether dvc.lock is in Git and there is an origin, so that other clones must fetch what it names."""
    from merit import git

    return (
        artifacts.DVC_LOCK.is_file() and git.has_origin() and bool(git.git("ls-files", "--", artifacts.DVC_LOCK.name))
    )


def _of_remote(repo: "Repo", name: str, settings: dict[str, Any]) -> Iterator[Finding]:
    from dvc.config import RemoteNotFoundError
    from dvc.fs import RemoteMissingDepsError

    url = str(settings["url"])
    if url.startswith("s3://"):
        settings.update({key: value for key, value in TIMES.items() if key not in settings})
    try:
        odb = repo.cloud.get_remote_odb(name)
        # This first access imports the driver, so a missing one raises here.
        _ = odb.fs.fs
    except RemoteMissingDepsError:
        scheme = url.partition("://")[0]
        do = "'pip install merit-ml[s3]'" if scheme == "s3" else f"'pip install dvc-{DRIVERS.get(scheme, scheme)}'"
        yield Finding(NAME, "missing", f"{url}: its driver is not installed", do)
        return
    except RemoteNotFoundError as error:
        yield Finding(NAME, "broken", str(error), "correct .dvc/config")
        return
    if (wrong := _unreachable(odb, url, settings)) is not None:
        yield wrong
        return
    yield Finding(NAME, "ok", f"'{name}', {url} answers")
    yield from _lacking(repo, url)


def _unreachable(odb: Any, url: str, settings: dict[str, Any]) -> Finding | None:
    """Return a finding if the remote can't be reached, else None."""
    if url.startswith("s3://"):
        return _bucket(odb, url, settings)
    if odb.fs.protocol == "local":
        if not Path(odb.path).exists() and not any(parent.is_dir() for parent in Path(odb.path).parents[:3]):
            return Finding(NAME, "missing", f"no folder {url}", "make it or mount it; 'dvc push' fills it")
        return None
    try:
        odb.fs.exists(odb.path)
    except Exception as error:  # noqa: BLE001  # each driver has errors of its own
        return Finding(NAME, "missing", f"{url} can't be reached ({error})", "see that it is up, and your access")
    return None


def _bucket(odb: Any, url: str, settings: dict[str, Any]) -> Finding | None:
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

    bucket, where = odb.path.partition("/")[0], settings.get("endpointurl") or "AWS"
    try:
        if settings.get("endpointurl"):
            _connect(where)  # fails at once; the S3 client would retry until the check's time limit
        odb.fs.fs.call_s3("head_bucket", Bucket=bucket)
    except (NoCredentialsError, PartialCredentialsError):
        do = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or 'dvc remote modify --local'"
        return Finding(NAME, "missing", f"{url}: no credentials", do)
    except FileNotFoundError:
        return Finding(NAME, "missing", f"{url}: {where} has no bucket '{bucket}'", "make it, or correct .dvc/config")
    except PermissionError as error:
        return Finding(NAME, "missing", f"{url}: access denied ({error})", f"let these credentials use '{bucket}'")
    except (BotoCoreError, OSError) as error:
        return Finding(NAME, "missing", f"{url}: {where} does not answer ({error})", "see that it is up, and reachable")
    return None


def _connect(address: str) -> None:
    """Open and close a TCP connection to a server.

    Raises:
        OSError: the server can't be reached.
    """
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname or "", port), timeout=TIMES["connect_timeout"]).close()


def _lacking(repo: "Repo", url: str) -> Iterator[Finding]:
    """Check that the remote has all files that dvc.lock names."""
    if not artifacts.DVC_LOCK.is_file():
        yield Finding("dvc data", "note", "no dvc.lock yet", "'merit run' makes one, 'dvc push' sends what it names")
        return
    state: dict[str, str] = repo.status(cloud=True)
    here = sorted(path for path, how in state.items() if how == "new")
    nowhere = sorted(path for path, how in state.items() if how == "missing")
    if nowhere:
        told = f"{len(nowhere)} files that dvc.lock names are neither here nor in {url}, such as {nowhere[0]}"
        yield Finding("dvc data", "missing", told, "'dvc push' where they were made, or 'merit run' makes them anew")
    if here:
        told = f"{url} lacks {len(here)} files that dvc.lock names, such as {here[0]}"
        yield Finding("dvc data", "missing", told, "'dvc push' sends them")
    if not here and not nowhere:
        yield Finding("dvc data", "ok", "the remote has all that dvc.lock names")
