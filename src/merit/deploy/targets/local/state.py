"""Stores the state of an environment on the target local: its replicas and the paths of its files.

The configurations of the supervisor and the proxy are derived from this state, so that the next apply can finish one
that was killed. Paths are relative to the repository's root, because the length of a socket's path is limited.
"""

import hashlib
import math
import os
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from merit import artifacts
from merit.errors import MeritError

ROLES = ("live", "canary", "shadow")
Phase = Literal["starting", "serving", "draining"]
"""starting: gets no requests yet. serving: gets requests. draining: finishes its requests and gets no new ones."""
MAX_REPLICAS = 16
"""The maximum number of replicas per role."""
SLOTS_PER_ROLE = 2 * MAX_REPLICAS
"""The number of server slots per role in the proxy: during a rollout, old and new replicas run side by side."""
MAX_SOCKET_PATH_BYTES = 90
"""The maximum length of a socket's path: the system allows 107 bytes, and supervisord appends a temporary suffix."""
SHARE_UNITS = 10_000
"""The proxy's integer for a share of 1."""


@dataclass(frozen=True)
class RuntimeFolder:
    """The folder of an environment's files on this machine."""

    name: str

    @property
    def path(self) -> Path:
        """The folder, relative to the repository's root."""
        return Path(".merit/environments") / self.name

    def __truediv__(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    @property
    def control_socket(self) -> Path:
        """The absolute path of the supervisor's socket; in the system's temporary folder if it would be too long.

        supervisord makes the path absolute, so a relative path would not shorten it.

        Raises:
            MeritError: the temporary folder belongs to another user or is accessible to others.
        """
        default_path = (self / "supervisor.sock").absolute()
        if len(os.fsencode(default_path)) <= MAX_SOCKET_PATH_BYTES:
            return default_path
        folder = Path(tempfile.gettempdir()) / f"merit-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700:
            raise MeritError(f"{folder}: must be a folder of yours that nobody else may enter; remove it")
        return folder / f"{hashlib.sha256(os.fsencode(default_path)).hexdigest()[:16]}.sock"


@dataclass
class Replica:
    """One server process of an environment.

    Attributes:
        name: its unique name in the supervisor; never reused.
        role: live, canary or shadow.
        slot: its server slot in the proxy, from 1.
        port: the port of 127.0.0.1 on which it listens.
        phase: its phase in the rollout.
        version: the version that it serves, such as v3.
        what: the digest of its package and the digest of its settings, separated by a space; empty if it must be
            replaced.
    """

    name: str
    role: str
    slot: int
    port: int
    phase: Phase
    version: str
    what: str

    @property
    def package(self) -> str:
        """The digest of the package that it serves; empty if it must be replaced."""
        return self.what.partition(" ")[0]


@dataclass
class LocalState:
    """The complete state of an environment on this machine.

    Attributes:
        port: the port of 127.0.0.1 on which the proxy listens.
        made: how many replicas were ever created; the source of their names.
        since: the time from which the live version serves, ISO 8601.
        shares: the share of requests of the canary and the shadow, in `UNITS`.
        replicas: all replicas that run or are being started.
    """

    port: int
    made: int = 0
    since: str | None = None
    shares: dict[str, int] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)

    def select_replicas(self, role: str, *phases: Phase) -> list[Replica]:
        """Return the replicas of a role, in any of these phases; in all phases if none is given."""
        return [each for each in self.replicas if each.role == role and (not phases or each.phase in phases)]

    def find_free_slot(self, role: str) -> int:
        """Return the first slot of a role in the proxy that no replica uses."""
        used_slots = {each.slot for each in self.select_replicas(role)}
        return next(slot for slot in range(1, SLOTS_PER_ROLE + 1) if slot not in used_slots)


def read_state(runtime: RuntimeFolder) -> LocalState | None:
    """Read the state of an environment; None if it has none, so nothing of it runs here.

    Raises:
        MeritError: the file can't be read or is invalid.
    """
    path = runtime / "state.json"
    if not path.is_file():
        return None
    try:
        return TypeAdapter(LocalState).validate_json(path.read_bytes(), strict=True)
    except (ValueError, OSError) as error:
        raise MeritError(
            f"{path}: can't be read ({_format_reason(error)}); stop what {runtime / 'supervisord.pid'} names, "
            f"remove {runtime.path} and 'merit apply {runtime.name}' again"
        ) from error


def _format_reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return " ".join(str(error).split())


def write_state(runtime: RuntimeFolder, state: LocalState) -> None:
    """Write the state of an environment."""
    artifacts.write_json(runtime / "state.json", asdict(state))


def convert_share(share: float) -> int:
    """Convert a share to the proxy's units, at least one."""
    return max(1, round(share * SHARE_UNITS))


def count_replicas(replicas: int, share: float | None) -> int:
    """Return the number of replicas for a role with a share of the load of `replicas`; None is the whole load."""
    return replicas if share is None else max(1, math.ceil(replicas * share))
