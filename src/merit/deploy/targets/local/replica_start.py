"""Starts a replica of the target local: writes its settings, builds its command, and waits until it is ready."""

import shlex
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from merit import artifacts
from merit.deploy.targets import Desired
from merit.deploy.targets.local.state import Place, Replica
from merit.deploy.targets.local.supervisor import GONE
from merit.errors import MeritError

SECONDS = 60
"""Time limit for a replica to become ready."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_free(port: int) -> None:
    """Check that a port of 127.0.0.1 is not in use.

    Raises:
        MeritError: it is in use, or may not be bound.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise MeritError(
                f"127.0.0.1:{port} can't be used ({error.strerror}); end what listens there, or change local.port"
            ) from error


def write(place: Place, replica: Replica, desired: Desired, package: Path, how: dict[str, str]) -> None:
    """Write the settings that the replica's process reads.

    Args:
        place: the folder of the environment's files.
        replica: the replica.
        desired: the declared state.
        package: the folder of the version's package.
        how: the environment variables of the serving settings.
    """
    version = desired.versions[replica.version]
    told = {
        "package": str(package),
        "digest": version.lineage.package,
        "signature": version.lineage.signature,
        "signing": desired.lock.release.signing.model_dump(mode="json"),
        "demanded": desired.environment.demands.signature,
        "port": replica.port,
        "environment": {
            **how,
            "MERIT_VERSION": replica.version,
            artifacts.COMMIT: version.commit,
            "BENTOML_HOME": str(_folder(place, replica).absolute()),
        },
    }
    artifacts.write_json(_folder(place, replica) / "replica.json", told)


def command(place: Place, replica: Replica) -> str:
    """Return the command line of a replica's process."""
    file = _folder(place, replica) / "replica.json"
    return shlex.join([sys.executable, "-m", "merit.serving.server.replica", str(file)])


def becomes_ready(replica: Replica, state: Callable[[], str]) -> bool:
    """Wait until a replica reports that it is ready; return False if it exits first or takes too long.

    Args:
        replica: the replica.
        state: returns supervisord's current state of the replica's process.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{replica.port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return True
        except (OSError, urllib.error.URLError):
            if state() in {*GONE, "BACKOFF"}:
                return False
        time.sleep(0.05)
    return False


def last_words(place: Place, replica: Replica) -> str:
    """Return the last line of a replica's log, with the log's path."""
    log = place.folder / "logs" / f"{replica.name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    return (said[-1][:300] if said else "it said nothing") + f" (more in {log})"


def forget(place: Place, replica: Replica) -> None:
    """Remove the files of a stopped replica, except its log."""
    shutil.rmtree(_folder(place, replica), ignore_errors=True)


def _folder(place: Place, replica: Replica) -> Path:
    return place.folder / "replicas" / replica.name
