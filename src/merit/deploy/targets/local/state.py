"""What the target `local` keeps of an environment: which replicas there are, and where its files lie.

Everything that the supervisor and the proxy read is made from this state, so that a job that is killed leaves nothing
that the next one can't finish. Paths are relative to the repository's root: a path of a socket has few characters.
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
MOST = 16
"""The most replicas of one role."""
SLOTS = 2 * MOST
"""Places of a role in the proxy: while a version changes, there are the old replicas and the new."""
MOST_BYTES = 90
"""Of a socket's path; supervisord adds a suffix while it makes it, and the system takes 107."""
UNITS = 10_000
"""A share of 1 as the proxy counts it."""


@dataclass(frozen=True)
class Place:
    """Where the files of an environment lie."""

    name: str

    @property
    def folder(self) -> Path:
        """The folder of all of them."""
        return Path(".merit/environments") / self.name

    def __truediv__(self, name: str) -> Path:
        """Return the path of one of them."""
        return self.folder / name

    @property
    def control(self) -> Path:
        """The supervisor's socket, whose path it makes absolute: one that is too long for a socket lies elsewhere.

        Raises:
            MeritError: the folder for it is somebody else's.
        """
        here = (self / "supervisor.sock").absolute()
        if len(os.fsencode(here)) <= MOST_BYTES:
            return here
        folder = Path(tempfile.gettempdir()) / f"merit-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        told = folder.lstat()
        if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.getuid() or stat.S_IMODE(told.st_mode) != 0o700:
            raise MeritError(f"{folder}: must be a folder of yours that nobody else may enter; remove it")
        return folder / f"{hashlib.sha256(os.fsencode(here)).hexdigest()[:16]}.sock"


@dataclass
class Replica:
    """One process that answers, or is about to, or did.

    Attributes:
        name: its name in the supervisor; never used again.
        role: live, canary or shadow.
        slot: its place in the proxy, from 1.
        port: the port of 127.0.0.1 that it listens on.
        phase: starting has no requests yet, draining gets no more.
        version: the version that it serves, such as v3.
        what: a digest of all that it serves by: the package and the settings.
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
        """The digest of the package that it serves; empty if it is to be replaced."""
        return self.what.partition(" ")[0]


@dataclass
class State:
    """All of an environment on this machine."""

    port: int
    made: int = 0
    since: str | None = None
    shares: dict[str, int] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)

    def of(self, role: str, *phases: Phase) -> list[Replica]:
        """Return the replicas of a role, in these phases or in any."""
        return [each for each in self.replicas if each.role == role and (not phases or each.phase in phases)]

    def free_slot(self, role: str) -> int:
        """Return a place in the proxy that no replica has."""
        taken = {each.slot for each in self.of(role)}
        return next(slot for slot in range(1, SLOTS + 1) if slot not in taken)


def read(place: Place) -> State | None:
    """Return what is kept of an environment, or None if nothing of it runs here.

    Raises:
        MeritError: it can't be read.
    """
    path = place / "state.json"
    if not path.is_file():
        return None
    try:
        return TypeAdapter(State).validate_json(path.read_bytes(), strict=True)
    except (ValueError, OSError) as error:
        raise MeritError(
            f"{path}: can't be read ({_reason(error)}); stop what {place / 'supervisord.pid'} names, "
            f"remove {place.folder} and 'merit apply {place.name}' again"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return " ".join(str(error).split())


def write(place: Place, state: State) -> None:
    """Keep the state."""
    artifacts.write_json(place / "state.json", asdict(state))


def units(share: float) -> int:
    """Return a share as the proxy counts it, at least one unit."""
    return max(1, round(share * UNITS))


def needed(replicas: int, share: float | None) -> int:
    """Return how many replicas a role needs whose share of what `replicas` answer is this; None is all."""
    return replicas if share is None else max(1, math.ceil(replicas * share))
