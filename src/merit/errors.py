"""What can go wrong, and the exit code that says so: 1 refused or differs, 2 broken."""

import traceback
from collections.abc import Callable
from pathlib import Path


class MeritError(Exception):
    """Something is broken and a person can mend it; its text is the one line they read.

    The line says what was found, what is allowed and what to change, with the file and key.
    """

    exit_code = 2


class ConfigError(MeritError):
    """The configuration is wrong; `problems` holds every fault found, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


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
