"""Checks of DVC's default remote: its configuration, whether it can be reached, and whether it has all of dvc.lock."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from merit import artifacts
from merit.console.findings import Finding
from merit.console.masking import mask_secrets
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.repo import Repo

CHECK_NAME = "dvc remote"
DRIVER_PACKAGES = {"s3": "s3", "gs": "gs", "azure": "azure", "ssh": "ssh", "gdrive": "gdrive", "webdav": "webdav"}
SECRET_KEYS = ("secret", "password", "token", "connection_string", "account_key", "customer_key")
TIMEOUTS_S = {"connect_timeout": 3, "read_timeout": 3}


def check_remote() -> Iterator[Finding]:
    """Check the default remote and its data."""
    from dvc.config import ConfigError
    from dvc.exceptions import DvcException, NotDvcRepoError

    from merit.dvc import repository as repo

    try:
        with repo.open_checked() as dvc_repo:
            yield from _check_default(dvc_repo)
    except NotDvcRepoError:
        yield Finding(CHECK_NAME, "missing", "DVC is not set up here", "'dvc init', then commit .dvc/")
    except (ConfigError, DvcException) as error:
        yield Finding(CHECK_NAME, "broken", f".dvc/config: {error}", "correct it")
    except MeritError as error:
        yield Finding(CHECK_NAME, "broken", str(error), "correct it, or restore it from Git")


def _check_default(repo: "Repo") -> Iterator[Finding]:
    name = repo.config["core"].get("remote")
    if not name:
        yield _report_no_remote()
        return
    settings = repo.config["remote"].get(name)
    if settings is None:
        yield Finding(
            CHECK_NAME, "broken", f"core.remote is '{name}', which .dvc/config does not describe", "correct it"
        )
        return
    secrets = tuple(str(value) for key, value in settings.items() if any(part in key for part in SECRET_KEYS))
    for finding in _check_storage(repo, name, settings):
        yield Finding(
            finding.name, finding.state, mask_secrets(finding.found, secrets), mask_secrets(finding.do, secrets)
        )


def _report_no_remote() -> Finding:
    message = "none; data and packages are this machine's alone"
    remedy = "'dvc remote add --default storage PATH-OR-URL', then 'dvc push'"
    return Finding(CHECK_NAME, "missing" if _is_lock_shared() else "note", message, remedy)


def _is_lock_shared() -> bool:
    """Return whether dvc.lock is in Git and there is an origin, so that other clones must fetch what it names."""
    from merit import git

    return (
        artifacts.DVC_LOCK.is_file()
        and git.has_origin()
        and bool(git.run_git("ls-files", "--", artifacts.DVC_LOCK.name))
    )


def _check_storage(repo: "Repo", name: str, settings: dict[str, Any]) -> Iterator[Finding]:
    from dvc.config import RemoteNotFoundError
    from dvc.fs import RemoteMissingDepsError

    url = str(settings["url"])
    if url.startswith("s3://"):
        settings.update({key: value for key, value in TIMEOUTS_S.items() if key not in settings})
    try:
        odb = repo.cloud.get_remote_odb(name)
        # This first access imports the driver, so a missing one raises here.
        _ = odb.fs.fs
    except RemoteMissingDepsError:
        scheme = url.partition("://")[0]
        remedy = (
            "'pip install merit-ml[s3]'"
            if scheme == "s3"
            else f"'pip install dvc-{DRIVER_PACKAGES.get(scheme, scheme)}'"
        )
        yield Finding(CHECK_NAME, "missing", f"{url}: its driver is not installed", remedy)
        return
    except RemoteNotFoundError as error:
        yield Finding(CHECK_NAME, "broken", str(error), "correct .dvc/config")
        return
    if (problem := _check_access(odb, url, settings)) is not None:
        yield problem
        return
    yield Finding(CHECK_NAME, "ok", f"'{name}', {url} answers")
    yield from _check_data(repo, url)


def _check_access(odb: Any, url: str, settings: dict[str, Any]) -> Finding | None:
    """Return a finding if the remote can't be reached, else None."""
    if url.startswith("s3://"):
        return _check_bucket(odb, url, settings)
    if odb.fs.protocol == "local":
        if not Path(odb.path).exists() and not any(parent.is_dir() for parent in Path(odb.path).parents[:3]):
            return Finding(CHECK_NAME, "missing", f"no folder {url}", "make it or mount it; 'dvc push' fills it")
        return None
    try:
        odb.fs.exists(odb.path)
    except Exception as error:  # noqa: BLE001  # each driver has errors of its own
        return Finding(CHECK_NAME, "missing", f"{url} can't be reached ({error})", "see that it is up, and your access")
    return None


def _check_bucket(odb: Any, url: str, settings: dict[str, Any]) -> Finding | None:
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

    bucket, endpoint = odb.path.partition("/")[0], settings.get("endpointurl") or "AWS"
    try:
        if settings.get("endpointurl"):
            _connect_tcp(endpoint)  # fails at once; the S3 client would retry until the check's time limit
        odb.fs.fs.call_s3("head_bucket", Bucket=bucket)
    except (NoCredentialsError, PartialCredentialsError):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or 'dvc remote modify --local'"
        return Finding(CHECK_NAME, "missing", f"{url}: no credentials", remedy)
    except FileNotFoundError:
        return Finding(
            CHECK_NAME, "missing", f"{url}: {endpoint} has no bucket '{bucket}'", "make it, or correct .dvc/config"
        )
    except PermissionError as error:
        return Finding(
            CHECK_NAME, "missing", f"{url}: access denied ({error})", f"let these credentials use '{bucket}'"
        )
    except (BotoCoreError, OSError) as error:
        return Finding(
            CHECK_NAME, "missing", f"{url}: {endpoint} does not answer ({error})", "see that it is up, and reachable"
        )
    return None


def _connect_tcp(address: str) -> None:
    """Open and close a TCP connection to a server.

    Raises:
        OSError: the server can't be reached.
    """
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname or "", port), timeout=TIMEOUTS_S["connect_timeout"]).close()


def _check_data(repo: "Repo", url: str) -> Iterator[Finding]:
    """Check that the remote has all files that dvc.lock names."""
    if not artifacts.DVC_LOCK.is_file():
        yield Finding("dvc data", "note", "no dvc.lock yet", "'merit run' makes one, 'dvc push' sends what it names")
        return
    statuses: dict[str, str] = repo.status(cloud=True)
    not_pushed = sorted(path for path, status in statuses.items() if status == "new")
    missing = sorted(path for path, how in statuses.items() if how == "missing")
    if missing:
        message = f"{len(missing)} files that dvc.lock names are neither here nor in {url}, such as {missing[0]}"
        advice = "'dvc push' where they were made, or 'merit run' makes them again"
        yield Finding("dvc data", "missing", message, advice)
    if not_pushed:
        message = f"{url} lacks {len(not_pushed)} files that dvc.lock names, such as {not_pushed[0]}"
        yield Finding("dvc data", "missing", message, "'dvc push' sends them")
    if not not_pushed and not missing:
        yield Finding("dvc data", "ok", "the remote has all that dvc.lock names")
