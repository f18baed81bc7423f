"""What can go wrong, and the exit code that says so: 1 refused or differs, 2 broken."""

import io
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from socket import gaierror

SHOWN = 100
"""Faults of configuration that are shown; a file can have a hundred thousand."""


class MeritError(Exception):
    """Something is broken and a person can mend it; its text is the one line they read.

    The line says what was found, what is allowed and what to change, with the file and key.
    """

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One fault of configuration: the file and line, the key, what was found, what is allowed, what was meant."""

    where: str
    key: str
    found: str
    allowed: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Return it as one line."""
        allowed = f"allowed: {self.allowed}" if self.allowed else ""
        advice = f"{self.hint} {allowed}" if self.hint.endswith("?") else "; ".join(filter(None, [allowed, self.hint]))
        told = "; ".join(filter(None, [self.found, advice]))
        return ": ".join(filter(None, [self.where, self.key, told]))


class ConfigError(MeritError):
    """The configuration is wrong; `problems` holds every fault found. One is told in a line, several in a table.

    Those past `SHOWN` are counted.
    """

    def __init__(self, problems: Sequence[Problem | str]) -> None:
        self.problems = [str(problem) for problem in problems]
        self._rows = [problem for problem in problems if isinstance(problem, Problem)]
        super().__init__("\n".join(self.problems))

    def __str__(self) -> str:
        """Return what a person reads."""
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
    # The place and the key are never broken, so that grep finds each row.
    for name, whole in {"where": True, "key": True, "found": False, "allowed": False, "advice": False}.items():
        table.add_column(name, no_wrap=whole)
    for problem in problems:
        table.add_row(*map(Text, astuple(problem)))
    text = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else DEFAULT_WIDTH
    Console(file=text, width=width, color_system=None).print(fit_table(table, width))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def visible(text: str) -> str:
    """Return a text as a terminal may get it: what would act on the terminal, or can't be seen, is a question mark."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def reason(error: BaseException) -> str:
    """Return in one line why something failed: why a server could not be reached, else the error's own words."""
    reached = (each for each in reversed(chain(error)) if isinstance(each, (ConnectionError, TimeoutError, gaierror)))
    told = next((each.strerror for each in reached if each.strerror), str(error))
    return " ".join(told.split())[:300]


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and those that led to it, the first cause last."""
    found: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in found:
        found.append(now)
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)
    return found


class Refused(MeritError):
    """The work was done and the answer is no: a contract broken, a parity missed, a gate not passed."""

    exit_code = 1


class ForeignError(MeritError):
    """Code of a package that the project trusts failed; who wrote it needs their own traceback.

    The text is a line that names the code, then the traceback from their first frame on, without merit's frames.

    Args:
        name: what of theirs failed, such as `mymodels.networks.Net.__init__`.
        error: what it raised.
        is_theirs: says of a file whether it is theirs.
    """

    def __init__(self, name: str, error: BaseException, is_theirs: Callable[[str], bool]) -> None:
        shown = traceback.TracebackException.from_exception(error)
        _trim(shown, is_theirs)
        reason = " ".join(traceback.format_exception_only(error)[-1].split())
        super().__init__(f"{name} failed: {reason}\n{''.join(shown.format()).rstrip()}")


def _trim(shown: traceback.TracebackException, is_theirs: Callable[[str], bool]) -> None:
    """Keep the frames from theirs on, also of the errors that led to this one, and none of merit's."""
    merit = Path(__file__).parent
    first = next((place for place, frame in enumerate(shown.stack) if is_theirs(frame.filename)), len(shown.stack))
    kept = [frame for frame in shown.stack[first:] if merit not in Path(frame.filename).parents]
    shown.stack = traceback.StackSummary.from_list(kept)
    for earlier in (shown.__cause__, shown.__context__):
        if earlier is not None:
            _trim(earlier, is_theirs)
