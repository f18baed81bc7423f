"""Blocks a trial's process from reading test rows: by Landlock on Linux kernels that have it, by an audit hook always.

Landlock also covers native code and child processes, and can't be undone. The audit hook covers Python's own file
functions. Both raise PermissionError.
"""

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CREATE, ADD, RESTRICT = 444, 445, 446
"""Numbers of Landlock's system calls, the same on every architecture (linux/landlock.h)."""
READ_FILE, REFER = 1 << 2, 1 << 13
"""Rights: to read a file's content; to move or link a file into another folder, which Landlock denies by default."""
NO_NEW_PRIVILEGES = 38
"""prctl's PR_SET_NO_NEW_PRIVS, without which an unprivileged process can't apply a ruleset."""
LEAST_ABI = 2
"""Minimum Landlock ABI: ABI 1 forbids moves between folders, which atomic writes need."""
LINKS = frozenset({"open", "os.link", "os.symlink", "os.rename", "shutil.copyfile", "shutil.move"})
"""Audit events of which the hook checks the paths."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@dataclass(frozen=True)
class Bounds:
    """The paths that a process must not read.

    Attributes:
        denied: real paths of files and folders.
        rules: file descriptor of the Landlock ruleset; None if the kernel doesn't support it.
    """

    denied: tuple[Path, ...]
    rules: int | None

    @classmethod
    def around(cls, denied: Sequence[Path]) -> "Bounds":
        """Return the bounds that deny absolute paths; paths that don't exist are ignored.

        This takes a tenth of a second: Landlock's rules can only allow, so every sibling of a denied path gets a rule.
        One ruleset can be inherited by many forked processes.
        """
        real = tuple(sorted({path.resolve() for path in denied if path.exists()}))
        return cls(real, _ruleset(real) if real and kernel_has_landlock() else None)

    def enter(self) -> str:
        """Restrict this process and its children irreversibly; return the name of the mechanism.

        Call this before any thread is started: Landlock restricts the calling thread and the threads it starts later.
        """
        _hook(self.denied)
        return "Landlock and an audit hook" if self.rules is not None and _restrict(self.rules) else "an audit hook"


def kernel_has_landlock() -> bool:
    """Return whether this kernel supports Landlock at `LEAST_ABI` or later."""
    if not sys.platform.startswith("linux"):
        return False
    return int(_libc().syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))) >= LEAST_ABI


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _ruleset(denied: Sequence[Path]) -> int | None:
    libc = _libc()
    asked = _Ruleset(READ_FILE | REFER)
    rules = libc.syscall(CREATE, ctypes.byref(asked), ctypes.c_size_t(ctypes.sizeof(asked)), ctypes.c_uint32(0))
    if rules < 0:
        return None
    for path in _all_but(denied):
        _allow(libc, rules, path)
    return int(rules)


def _restrict(rules: int) -> bool:
    libc = _libc()
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(libc.syscall(RESTRICT, rules, ctypes.c_uint32(0)) == 0)


def _allow(libc: Any, rules: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # deleted since it was listed, or not accessible
        return
    try:
        rights = READ_FILE | REFER if os.path.isdir(path) else READ_FILE  # noqa: PTH112  # thousands of them
        rule = _Beneath(rights, place)
        libc.syscall(ADD, rules, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(place)


def _all_but(denied: Sequence[Path]) -> Iterable[str]:
    """Yield the fewest paths that cover everything but the denied ones, as Landlock's rules can only allow."""
    above = {parent for path in denied for parent in path.parents}
    closed = {*map(str, denied)}
    for folder in sorted(above):
        if any(path in closed for path in map(str, [folder, *folder.parents])):
            continue
        try:
            inside = os.listdir(folder)  # noqa: PTH208  # names are enough
        except OSError:
            continue
        for name in inside:
            entry = folder / name
            if str(entry) not in closed and entry not in above and not entry.is_symlink():
                yield str(entry)


def _hook(denied: Sequence[Path]) -> None:
    closed = tuple(str(path) for path in denied)
    whole = tuple(f"{path}{os.sep}" for path in closed)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in LINKS:
            return
        for given in arguments[:2]:
            if isinstance(given, str | bytes | os.PathLike):
                name = os.fsdecode(given)
                real = os.path.realpath(name)
                if real in closed or real.startswith(whole):
                    raise PermissionError(13, "a trial can't open this: it may hold test rows", name)

    sys.addaudithook(listen)
