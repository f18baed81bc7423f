"""Provides a file that is reloaded when it changes; an invalid update keeps the last valid value."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from merit.console.json_log import RateLimitedLogger
from merit.errors import MeritError

CHECK_INTERVAL_S = 1.0
"""Minimum interval between checks for changes of the file."""

T = TypeVar("T")


class ReloadingFile(Generic[T]):
    """The parsed content of a file, or of an environment variable instead.

    Args:
        path: the file; None if only the variable may provide the text.
        variable: environment variable with the text, for platforms that inject secrets; it overrides the file.
        parse: parses the text; its second argument is the name of the source for error messages.
        advice: advice for the error message if the file doesn't exist.

    Raises:
        MeritError: neither exists, or the text is invalid.
    """

    def __init__(self, path: str | None, variable: str, parse: Callable[[str, str], T], advice: str) -> None:
        self._path, self._parse = Path(path or ""), parse
        self._logger = RateLimitedLogger()
        self._next_check = 0.0
        self._last_state: tuple[int, ...] = ()
        if text := os.environ.get(variable):
            self._value = self._parse_text(text, variable)
            return
        if not path:
            raise MeritError(f"serve.auth names no file; name it ({advice}); {variable} may hold its text instead")
        try:
            self._last_state = self._read_state()
            self._value = self._read_value()
        except OSError as error:
            reason = error.strerror or error
            raise MeritError(
                f"{path}: can't be read ({reason}); {advice}; {variable} may hold its text instead"
            ) from error

    def get_value(self) -> T:
        """Return the current value; the file is checked for changes at most once a second."""
        if (now := time.monotonic()) >= self._next_check:
            self._next_check = now + CHECK_INTERVAL_S
            if self._last_state:
                self._reload_if_changed()
        return self._value

    def current_time(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time()

    def _reload_if_changed(self) -> None:
        try:
            if (state := self._read_state()) == self._last_state:
                return
            self._last_state = state
            self._value = self._read_value()
        except (OSError, MeritError) as error:
            message = f"{self._path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            self._logger.log("keys", "bad", level="error", error=message, goes_on="with what was read before")
        else:
            self._logger.log("keys", "read", file=str(self._path))

    def _read_state(self) -> tuple[int, ...]:
        status = self._path.stat()
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read_value(self) -> T:
        try:
            text = self._read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise MeritError(f"{self._path}: is no text; put back what it was") from error
        return self._parse_text(text, str(self._path))

    def _read_bytes(self) -> bytes:
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

    def _parse_text(self, text: str, source: str) -> T:
        """Parse a text; turn any exception of the parser into a MeritError, so that a bad file can't fail requests."""
        try:
            return self._parse(text, source)
        except MeritError:
            raise
        except Exception as error:
            raise MeritError(f"{source}: can't be read ({type(error).__name__}); put back what it was") from error
