"""Defines merit's exceptions and their exit codes: 1 refused or differs, 2 broken."""

import importlib.util
import io
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from socket import gaierror

MAX_SHOWN_PROBLEMS = 100
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
        message = "; ".join(filter(None, [self.found, advice]))
        return ": ".join(filter(None, [self.where, self.key, message]))


class ConfigError(MeritError):
    """An invalid configuration with all its problems: one is printed as a line, several as a table.

    Problems beyond `MAX_SHOWN_PROBLEMS` are only counted.
    """

    def __init__(self, problems: Sequence[Problem | str]) -> None:
        self.problems = [str(problem) for problem in problems]
        self._rows = [problem for problem in problems if isinstance(problem, Problem)]
        super().__init__("\n".join(self.problems))

    def __str__(self) -> str:
        """Return the text that the command prints."""
        is_table = len(self.problems) > 1 and len(self._rows) == len(self.problems)
        shown = (
            _render_table(self._rows[:MAX_SHOWN_PROBLEMS])
            if is_table
            else "\n".join(self.problems[:MAX_SHOWN_PROBLEMS])
        )
        hidden_count = len(self.problems) - MAX_SHOWN_PROBLEMS
        return f"{shown}\nand {hidden_count:,} more" if hidden_count > 0 else shown


def _render_table(problems: Sequence[Problem]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from merit.console.tables import DEFAULT_WIDTH, fit_table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    # File and key are never wrapped, so that grep finds each row.
    for name, no_wrap in {"where": True, "key": True, "found": False, "allowed": False, "advice": False}.items():
        table.add_column(name, no_wrap=no_wrap)
    for problem in problems:
        table.add_row(*map(Text, astuple(problem)))
    buffer = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else DEFAULT_WIDTH
    Console(file=buffer, width=width, color_system=None).print(fit_table(table, width))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def replace_unprintable(text: str) -> str:
    """Return text that is safe to print: control and other unprintable characters are replaced by question marks."""
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in text)


def describe_cause(error: BaseException) -> str:
    """Return the cause of a failure in one line: the connection error in its chain, else the error's own message."""
    connection_errors = (
        each for each in reversed(list_causes(error)) if isinstance(each, (ConnectionError, TimeoutError, gaierror))
    )
    message = next((each.strerror for each in connection_errors if each.strerror), str(error))
    return " ".join(message.split())[:300]


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last."""
    errors: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in errors:
        errors.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return errors


class Refused(MeritError):
    """A negative result of a completed check, such as a violated contract, failed parity or a failed gate."""

    exit_code = 1


LIBRARIES = {
    "bentoml": ("BentoML", "serve"),
    "circus": ("kantoku", "serve"),
    "httptools": ("httptools", "serve"),
    "jwt": ("PyJWT", "serve"),
    "prometheus_client": ("prometheus-client", "serve"),
    "uvloop": ("uvloop", "serve"),
    "supervisor": ("supervisor", "local"),
    "evidently": ("Evidently", "gate"),
    "matplotlib": ("Matplotlib", "gate"),
    "pandas": ("pandas", "gate"),
    "cyclonedx": ("cyclonedx-python-lib", "release"),
    "model_signing": ("model-signing", "release"),
    "oras": ("oras", "release"),
    "packageurl": ("packageurl-python", "release"),
}
"""The library of each module that only an extra installs, and the extra."""
GATE_MODULES = ("matplotlib", "bentoml")
"""The modules without which the gate can't judge: it draws plots and queries a Bento."""


class MissingExtraError(MeritError):
    """A library isn't installed because the extra that installs it isn't.

    Args:
        purpose: what needs the library, such as `merit serve`.
        module: the module that the library is imported by; `LIBRARIES` has it.
    """

    def __init__(self, purpose: str, module: str) -> None:
        library, extra = LIBRARIES[module]
        super().__init__(f"{purpose} needs {library}: pip install 'merit-ml[{extra}]'")


def require_modules(purpose: str, *modules: str) -> None:
    """Check that the modules of an extra are installed, before any work starts; import none of them.

    Raises:
        MissingExtraError: one is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(purpose, module)


class ProjectCodeError(MeritError):
    """A failure in code of a trusted package of the project; its author needs a traceback of that code.

    The text is a line that names the code, then the traceback from that code's first frame on, without merit's frames.

    Args:
        name: the object that failed, such as `mymodels.networks.Net.__init__`.
        error: the exception that it raised.
        is_project_file: returns whether a file belongs to the package.
    """

    def __init__(self, name: str, error: BaseException, is_project_file: Callable[[str], bool]) -> None:
        trace = traceback.TracebackException.from_exception(error)
        _trim_frames(trace, is_project_file)
        reason = " ".join(traceback.format_exception_only(error)[-1].split())
        super().__init__(f"{name} failed: {reason}\n{''.join(trace.format()).rstrip()}")


def _trim_frames(trace: traceback.TracebackException, is_project_file: Callable[[str], bool]) -> None:
    """Remove merit's frames and those before the first frame of the package, also from the error's causes."""
    merit_folder = Path(__file__).parent
    first_index = next(
        (index for index, frame in enumerate(trace.stack) if is_project_file(frame.filename)), len(trace.stack)
    )
    frames = [frame for frame in trace.stack[first_index:] if merit_folder not in Path(frame.filename).parents]
    trace.stack = traceback.StackSummary.from_list(frames)
    for cause in (trace.__cause__, trace.__context__):
        if cause is not None:
            _trim_frames(cause, is_project_file)
