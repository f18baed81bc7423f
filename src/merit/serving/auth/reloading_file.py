"""Provides a file that is reloaded when it changes; an invalid update keeps the last valid value."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from merit.console.json_log import Lines
from merit.errors import MeritError

LOOK_SECONDS = 1.0
"""Minimum interval between checks for changes of the file."""

T = TypeVar("T")


class Kept(Generic[T]):
    """The parsed content of a file, or of an environment variable instead.

    Args:
        path: the file; None if only the variable may provide the text.
        variable: environment variable with the text, for platforms that inject secrets; it overrides the file.
        read: parses the text; its second argument is the name of the source for error messages.
        remedy: advice for the error message if the file doesn't exist.

    Raises:
        MeritError: neither exists, or the text is invalid.
    """

    def __init__(self, path: str | None, variable: str, read: Callable[[str, str], T], remedy: str) -> None:
        self._path, self._make = Path(path or ""), read
        self._lines = Lines()
        self._look = 0.0
        self._seen: tuple[int, ...] = ()
        if told := os.environ.get(variable):
            self._value = self._made(told, variable)
            return
        if not path:
            raise MeritError(f"serve.auth names no file; name it ({remedy}); {variable} may hold its text instead")
        try:
            self._seen = self._state()
            self._value = self._read()
        except OSError as error:
            reason = error.strerror or error
            raise MeritError(
                f"{path}: can't be read ({reason}); {remedy}; {variable} may hold its text instead"
            ) from error

    def now(self) -> T:
        """Return the current value; the file is checked for changes at most once a second."""
        if (moment := time.monotonic()) >= self._look:
            self._look = moment + LOOK_SECONDS
            if self._seen:
                self._look_again()
        return self._value

    def clock(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time()

    def _look_again(self) -> None:
        try:
            if (state := self._state()) == self._seen:
                return
            self._seen = state
            self._value = self._read()
        except (OSError, MeritError) as error:
            told = f"{self._path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            self._lines.tell("keys", "bad", level="error", error=told, goes_on="with what was read before")
        else:
            self._lines.tell("keys", "read", file=str(self._path))

    def _state(self) -> tuple[int, ...]:
        found = self._path.stat()
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def _read(self) -> T:
        try:
            text = self._bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise MeritError(f"{self._path}: is no text; put back what it was") from error
        return self._made(text, str(self._path))

    def _bytes(self) -> bytes:
        """Return the content of the file.

        Raises:
            MeritError: it is a pipe or a device.
            OSError: it can't be read.
        """
        # Non-blocking: opening a pipe would otherwise block all requests until a writer opens it.
        with open(self._path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise MeritError(f"{self._path}: is a pipe or device, which can't be read again; put a file there")
            return handle.read()

    def _made(self, text: str, place: str) -> T:
        """Parse a text; turn any exception of the parser into a MeritError, so that a bad file can't fail requests."""
        try:
            return self._make(text, place)
        except MeritError:
            raise
        except Exception as error:
            raise MeritError(f"{place}: can't be read ({type(error).__name__}); put back what it was") from error
