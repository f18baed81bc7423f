"""Defines merit's exceptions and their exit codes: 1 refused or differs, 2 broken."""

import io
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from socket import gaierror

SHOWN = 100
"""Maximum configuration problems that are printed; a file can have a hundred thousand."""


class MeritError(Exception):
    """An error that the user can fix; its text is the one line that the command prints.

    The line states the file and key, what was found, what is allowed and what to change. Example:

        raise MeritError("params.yaml: not found; 'merit compose' writes it")
    """

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One configuration problem.

    Attributes:
        where: file and line.
        key: the configuration key.
        found: what was found.
        allowed: the allowed values; empty if there is no list of them.
        hint: advice, or a "did you mean ...?" question.
    """

    where: str
    key: str
    found: str
    allowed: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Return the problem as one line."""
        allowed = f"allowed: {self.allowed}" if self.allowed else ""
        advice = f"{self.hint} {allowed}" if self.hint.endswith("?") else "; ".join(filter(None, [allowed, self.hint]))
        told = "; ".join(filter(None, [self.found, advice]))
        return ": ".join(filter(None, [self.where, self.key, told]))


class ConfigError(MeritError):
    """An invalid configuration with all its problems: one is printed as a line, several as a table.

    Problems beyond `SHOWN` are only counted.
    """

    def __init__(self, problems: Sequence[Problem | str]) -> None:
        self.problems = [str(problem) for problem in problems]
        self._rows = [problem for problem in problems if isinstance(problem, Problem)]
        super().__init__("\n".join(self.problems))

    def __str__(self) -> str:
        """Return the text that the command prints."""
        is_table = len(self.problems) > 1 and len(self._rows) == len(self.problems)
        shown = _table(self._rows[:SHOWN]) if is_table else "\n".join(self.problems[:SHOWN])
        more = len(self.problems) - SHOWN
        return f"{shown}\nand {more:,} more" if more > 0 else shown


def _table(problems: Sequence[Problem]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import DEFAULT_WIDTH, fit_table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    # File and key are never wrapped, so that grep finds each row.
    for name, whole in {"where": True, "key": True, "found": False, "allowed": False, "advice": False}.items():
        table.add_column(name, no_wrap=whole)
    for problem in problems:
        table.add_row(*map(Text, astuple(problem)))
    text = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else DEFAULT_WIDTH
    Console(file=text, width=width, color_system=None).print(fit_table(table, width))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def visible(text: str) -> str:
    """Return text that is safe to print: control and other unprintable characters are replaced by question marks."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def reason(error: BaseException) -> str:
    """Return the cause of a failure in one line: the connection error in its chain, else the error's own message."""
    reached = (each for each in reversed(chain(error)) if isinstance(each, (ConnectionError, TimeoutError, gaierror)))
    told = next((each.strerror for each in reached if each.strerror), str(error))
    return " ".join(told.split())[:300]


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last."""
    found: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in found:
        found.append(now)
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
    return found


class Refused(MeritError):
    """A negative result of a completed check, such as a violated contract, failed parity or a failed gate."""

    exit_code = 1


class ForeignError(MeritError):
    """A failure in code of a trusted package of the project; its author needs a traceback of that code.

    The text is a line that names the code, then the traceback from that code's first frame on, without merit's frames.

    Args:
        name: the object that failed, such as `mymodels.networks.Net.__init__`.
        error: the exception that it raised.
        is_theirs: returns whether a file belongs to the package.
    """

    def __init__(self, name: str, error: BaseException, is_theirs: Callable[[str], bool]) -> None:
        shown = traceback.TracebackException.from_exception(error)
        _trim(shown, is_theirs)
        reason = " ".join(traceback.format_exception_only(error)[-1].split())
        super().__init__(f"{name} failed: {reason}\n{''.join(shown.format()).rstrip()}")


def _trim(shown: traceback.TracebackException, is_theirs: Callable[[str], bool]) -> None:
    """Remove merit's frames and those before the first frame of the package, also from the error's causes."""
    merit = Path(__file__).parent
    first = next((place for place, frame in enumerate(shown.stack) if is_theirs(frame.filename)), len(shown.stack))
    kept = [frame for frame in shown.stack[first:] if merit not in Path(frame.filename).parents]
    shown.stack = traceback.StackSummary.from_list(kept)
    for earlier in (shown.__cause__, shown.__context__):
        if earlier is not None:
            _trim(earlier, is_theirs)
