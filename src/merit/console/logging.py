"""Configures what merit says about its progress: the logger `merit`, as text or as JSON lines.

Results, such as tables and verdicts, are no log records: commands print them. A record with `to_stdout` stands between
the lines of a result in the text format, such as what to do next.
"""

import atexit
import logging
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

VERBOSITY_VARIABLE, FORMAT_VARIABLE = "MERIT_VERBOSITY", "MERIT_LOG_FORMAT"
"""Environment variables that hand both settings to the stages, which are processes of their own."""
LEVELS = {"normal": logging.INFO, "quiet": logging.WARNING, "verbose": logging.DEBUG}
"""The least level that is logged, by verbosity."""
FORMATS = ("text", "json")
DVC_LOGGERS = ("dvc", "dvc_data", "dvc_objects")

logger = logging.getLogger("merit")


def configure(verbosity: str = "normal", log_format: str = "text") -> None:
    """Set up the logger for a command.

    Args:
        verbosity: normal; quiet, only warnings and errors; or verbose, also timings, files that are read and written,
            and DVC's own messages.
        log_format: text, or json for one JSON object per record on standard error, where what libraries print becomes
            such objects too.
    """
    logger.handlers[:] = [JsonHandler() if log_format == "json" else TextHandler()]
    logger.setLevel(LEVELS[verbosity])
    logger.propagate = False  # libraries add handlers to the root logger, which would print each record again
    for variable, value, default in ((VERBOSITY_VARIABLE, verbosity, "normal"), (FORMAT_VARIABLE, log_format, "text")):
        if value != default or variable in os.environ:  # an option also replaces what the environment has
            os.environ[variable] = value
    if log_format == "json":
        _convert_stderr()


def _convert_stderr() -> None:
    """Make a JSON object of each line that Python or a library prints on standard error, such as a warning."""
    from merit.console.json_log import JsonStream

    if not isinstance(sys.stderr, JsonStream):
        stream = sys.stderr = JsonStream(sys.stderr)
        atexit.register(stream.write_rest)


def read_environment() -> dict[str, str]:
    """Return the arguments of `configure` that the environment has; a run hands them to its processes there."""
    allowed = {"verbosity": (VERBOSITY_VARIABLE, LEVELS), "log_format": (FORMAT_VARIABLE, FORMATS)}
    values = {name: (os.environ.get(variable), choices) for name, (variable, choices) in allowed.items()}
    return {name: value for name, (value, choices) in values.items() if value is not None and value in choices}


def adopt_dvc_loggers() -> None:
    """Give DVC's loggers the level of ours, and our handler if it writes JSON; DVC sets them up when it is imported."""
    for name in DVC_LOGGERS if logger.handlers else ():
        dvc_logger = logging.getLogger(name)
        dvc_logger.setLevel(logger.level)
        if is_json():
            dvc_logger.handlers[:] = logger.handlers


def is_quiet() -> bool:
    """Return whether only warnings and errors are shown."""
    return logger.level > logging.INFO


def is_json() -> bool:
    """Return whether records are JSON objects."""
    return any(isinstance(handler, JsonHandler) for handler in logger.handlers)


def shows_bars(screen: "Console") -> bool:
    """Return whether a progress bar may be drawn on a screen: on a terminal, unless the log is quiet or JSON."""
    return screen.is_terminal and not is_quiet() and not is_json()


def show_phase(text: str) -> None:
    """Log the step that begins; as text it is shown only on a terminal, or if all is to be shown."""
    logger.info(text, extra={"phase": True})


def show_line(text: str) -> None:
    """Log a line that the text format shows on standard output, such as a note or the next step."""
    logger.info(text, extra={"to_stdout": True})


class TextHandler(logging.Handler):
    """Prints records as lines: errors with the prefix `error:`, debugging with the seconds since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if hasattr(record, "phase"):
            _print_phase(record.getMessage())
            return
        if record.exc_info:
            traceback.print_exception(record.exc_info[1])
        stream = sys.stdout if hasattr(record, "to_stdout") else sys.stderr
        print(_format_text(record), file=stream, flush=True)


def _format_text(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.levelno >= logging.ERROR:
        return f"error: {message}" if "\n" not in message else f"error:\n{message}"
    if record.levelno <= logging.DEBUG:
        return f"debug: {record.relativeCreated / 1000:.3f} s: {message}"
    return message


def _print_phase(text: str) -> None:
    from rich.console import Console

    screen = Console(stderr=True, highlight=False)
    if screen.is_terminal or logger.isEnabledFor(logging.DEBUG):
        screen.print(f"{text} ...", style="dim", markup=False, soft_wrap=True)


class JsonHandler(logging.Handler):
    """Writes records as JSON objects with `time`, `level`, `logger`, `message` and `pid`, one a line.

    A record of an exception also has its `traceback`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        from merit.console.json_log import write_log_line

        fields = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        write_log_line(fields)


class Timer:
    """Logs at the debug level how long a block took.

    Example:
        with Timer("compose"):
            ...
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        logger.debug("%s took %.3f s", self._name, time.perf_counter() - self._started)
