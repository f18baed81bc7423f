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
from merit.deploy.targets.interface import DesiredState
from merit.deploy.targets.local.state import Replica, RuntimeFolder
from merit.deploy.targets.local.supervisor import STOPPED_STATES
from merit.errors import MeritError

READY_TIMEOUT_S = 60
"""Time limit for a replica to become ready."""


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port_free(port: int) -> None:
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


def write_settings(
    runtime: RuntimeFolder, replica: Replica, desired: DesiredState, package: Path, variables: dict[str, str]
) -> None:
    """Write the settings that the replica's process reads.

    Args:
        runtime: the folder of the environment's files.
        replica: the replica.
        desired: the declared state.
        package: the folder of the version's package.
        variables: the environment variables of the serving settings.
    """
    version = desired.versions[replica.version]
    settings = {
        "package": str(package),
        "digest": version.lineage.package,
        "signature": version.lineage.signature,
        "signing": desired.lock.release.signing.model_dump(mode="json"),
        "demanded": desired.environment.demands.signature,
        "port": replica.port,
        "environment": {
            **variables,
            "MERIT_VERSION": replica.version,
            artifacts.COMMIT_VARIABLE: version.commit,
            "BENTOML_HOME": str(_get_folder(runtime, replica).absolute()),
        },
    }
    artifacts.write_json(_get_folder(runtime, replica) / "replica.json", settings)


def build_command(runtime: RuntimeFolder, replica: Replica) -> str:
    """Return the command line of a replica's process."""
    file = _get_folder(runtime, replica) / "replica.json"
    return shlex.join([sys.executable, "-m", "merit.serving.server.replica", str(file)])


def wait_until_ready(replica: Replica, get_state: Callable[[], str]) -> bool:
    """Wait until a replica reports that it is ready; return False if it exits first or takes too long.

    Args:
        replica: the replica.
        get_state: returns supervisord's current state of the replica's process.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{replica.port}/readyz", timeout=5) as response:
                if response.status == 200:
                    return True
        except (OSError, urllib.error.URLError):
            if get_state() in {*STOPPED_STATES, "BACKOFF"}:
                return False
        time.sleep(0.05)
    return False


def read_last_log_line(runtime: RuntimeFolder, replica: Replica) -> str:
    """Return the last line of a replica's log, with the log's path."""
    log = runtime.path / "logs" / f"{replica.name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    written_lines = [line.strip() for line in lines if line.strip()]
    return (written_lines[-1][:300] if written_lines else "it said nothing") + f" (more in {log})"


def remove_files(runtime: RuntimeFolder, replica: Replica) -> None:
    """Remove the files of a stopped replica, except its log."""
    shutil.rmtree(_get_folder(runtime, replica), ignore_errors=True)


def _get_folder(runtime: RuntimeFolder, replica: Replica) -> Path:
    return runtime.path / "replicas" / replica.name
