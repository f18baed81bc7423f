"""A trial's process kept from the test rows: by Linux's Landlock where there is one, by an audit hook everywhere.

Landlock holds for native code and for child processes too, and can't be undone; the hook holds for Python's own ways
to open a file. Both refuse with PermissionError.
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
"""Rights: to read a file's content; to move or link a file into another folder, which Landlock else denies at all."""
NO_NEW_PRIVILEGES = 38
LEAST_ABI = 2
"""Before this one nothing can be moved between folders, and a file can't be written aside."""
LINKS = frozenset({"open", "os.link", "os.symlink", "os.rename", "shutil.copyfile", "shutil.move"})


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@dataclass(frozen=True)
class Bounds:
    """What is kept from: real paths, and Landlock's ruleset for them as a file descriptor, if the kernel has it."""

    denied: tuple[Path, ...]
    rules: int | None

    @classmethod
    def around(cls, denied: Sequence[Path]) -> "Bounds":
        """Return the bounds for absolute paths; what isn't there needs no keeping from.

        Making them takes a tenth of a second, for rules can only add: all that lies beside is named. Many processes may
        be forked with them.
        """
        real = tuple(sorted({path.resolve() for path in denied if path.exists()}))
        return cls(real, _ruleset(real) if real and kernel_has_landlock() else None)

    def enter(self) -> str:
        """Keep this process, and all that it starts, within them for good; say by what means.

        Call it before there are threads: Landlock binds those that are started afterwards.
        """
        _hook(self.denied)
        return "Landlock and an audit hook" if self.rules is not None and _restrict(self.rules) else "an audit hook"


def kernel_has_landlock() -> bool:
    """Say whether this kernel has a Landlock that can be used."""
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
    except OSError:  # gone since it was listed, or not ours to see
        return
    try:
        rights = READ_FILE | REFER if os.path.isdir(path) else READ_FILE  # noqa: PTH112  # thousands of them
        rule = _Beneath(rights, place)
        libc.syscall(ADD, rules, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(place)


def _all_but(denied: Sequence[Path]) -> Iterable[str]:
    """Yield the fewest paths that hold everything but those that are denied: rules can only add."""
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
