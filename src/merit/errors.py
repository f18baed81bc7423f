"""What can go wrong, and the exit code that says so: 1 refused or differs, 2 broken."""


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
