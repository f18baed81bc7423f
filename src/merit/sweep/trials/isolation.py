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

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of Landlock's system calls, the same on every architecture (linux/landlock.h)."""
READ_FILE, REFER = 1 << 2, 1 << 13
"""Rights: to read a file's content; to move or link a file into another folder, which Landlock denies by default."""
NO_NEW_PRIVILEGES = 38
"""prctl's PR_SET_NO_NEW_PRIVS, without which an unprivileged process can't apply a ruleset."""
MIN_ABI = 2
"""Minimum Landlock ABI: ABI 1 forbids moves between folders, which atomic writes need."""
GUARDED_EVENTS = frozenset({"open", "os.link", "os.symlink", "os.rename", "shutil.copyfile", "shutil.move"})
"""Audit events of which the hook checks the paths."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@dataclass(frozen=True)
class Sandbox:
    """The paths that a process must not read.

    Attributes:
        denied: real paths of files and folders.
        ruleset: file descriptor of the Landlock ruleset; None if the kernel doesn't support it.
    """

    denied: tuple[Path, ...]
    ruleset: int | None

    @classmethod
    def from_paths(cls, denied: Sequence[Path]) -> "Sandbox":
        """Return the bounds that deny absolute paths; paths that don't exist are ignored.

        This takes a tenth of a second: Landlock's rules can only allow, so every sibling of a denied path gets a rule.
        One ruleset can be inherited by many forked processes.
        """
        real = tuple(sorted({path.resolve() for path in denied if path.exists()}))
        return cls(real, _create_ruleset(real) if real and kernel_has_landlock() else None)

    def enter(self) -> str:
        """Restrict this process and its children irreversibly; return the name of the mechanism.

        Call this before any thread is started: Landlock restricts the calling thread and the threads it starts later.
        """
        _add_audit_hook(self.denied)
        return (
            "Landlock and an audit hook"
            if self.ruleset is not None and _restrict_self(self.ruleset)
            else "an audit hook"
        )


def kernel_has_landlock() -> bool:
    """Return whether this kernel supports Landlock at `MIN_ABI` or later."""
    if not sys.platform.startswith("linux"):
        return False
    return int(_load_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))) >= MIN_ABI


def _load_libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _create_ruleset(denied: Sequence[Path]) -> int | None:
    libc = _load_libc()
    attributes = _Ruleset(READ_FILE | REFER)
    ruleset = libc.syscall(
        CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return None
    for path in _list_allowed_paths(denied):
        _allow_path(libc, ruleset, path)
    return int(ruleset)


def _restrict_self(ruleset: int) -> bool:
    libc = _load_libc()
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(libc.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)


def _allow_path(libc: Any, ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # deleted since it was listed, or not accessible
        return
    try:
        rights = READ_FILE | REFER if os.path.isdir(path) else READ_FILE  # noqa: PTH112  # thousands of them
        rule = _PathBeneath(rights, descriptor)
        libc.syscall(ADD_RULE, ruleset, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _list_allowed_paths(denied: Sequence[Path]) -> Iterable[str]:
    """Yield the fewest paths that cover everything but the denied ones, as Landlock's rules can only allow."""
    parents = {parent for path in denied for parent in path.parents}
    denied_names = {*map(str, denied)}
    for folder in sorted(parents):
        if any(path in denied_names for path in map(str, [folder, *folder.parents])):
            continue
        try:
            names = os.listdir(folder)  # noqa: PTH208  # names are enough
        except OSError:
            continue
        for name in names:
            entry = folder / name
            if str(entry) not in denied_names and entry not in parents and not entry.is_symlink():
                yield str(entry)


def _add_audit_hook(denied: Sequence[Path]) -> None:
    denied_names = tuple(str(path) for path in denied)
    denied_prefixes = tuple(f"{path}{os.sep}" for path in denied_names)

    def check_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in GUARDED_EVENTS:
            return
        for argument in arguments[:2]:
            if isinstance(argument, str | bytes | os.PathLike):
                name = os.fsdecode(argument)
                real = os.path.realpath(name)
                if real in denied_names or real.startswith(denied_prefixes):
                    raise PermissionError(13, "a trial can't open this: it may hold test rows", name)

    sys.addaudithook(check_event)
