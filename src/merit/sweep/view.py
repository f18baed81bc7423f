"""STAND-IN, to be dropped at the merge: the helper sweepview's own takes its place."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table

from merit.sweep.record import FINAL, Sweep


class Live:
    """Prints a line per trial that ends."""

    def __init__(self, console: Console, objectives: dict[str, str], planned: int | None) -> None:
        self._console = console
        self._objectives = objectives
        self._told: set[int] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End."""

    def update(self, sweep: Sweep) -> None:
        """Print what ended since."""
        ended = [trial for trial in sweep.trials if trial.state in FINAL]
        if self._told is None:
            self._told = {trial.number for trial in ended}
        for trial in ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                values = " ".join(
                    f"{name} {trial.values[name]:.4f}" for name in self._objectives if name in trial.values
                )
                point = " ".join(f"{key}={value}" for key, value in trial.overrides.items())
                self._console.print(
                    f"trial {trial.number:>3} {trial.state} {values} {point} {trial.error or ''} {trial.seconds:.1f} s",
                    highlight=False,
                    soft_wrap=True,
                )


def show(console: Console, sweep: Sweep) -> None:
    """Print the trials."""
    console.print(table(sweep))


def table(sweep: Sweep) -> Table:
    """Return the trials as a table."""
    made = Table("trial", "state", *sweep.space, *sweep.objectives, "seconds")
    for trial in sweep.trials:
        point = [trial.overrides.get(key, "") for key in sweep.space]
        values = [f"{trial.values[name]:.4f}" if name in trial.values else "" for name in sweep.objectives]
        made.add_row(str(trial.number), trial.state, *point, *values, f"{trial.seconds:.1f}")
    return made
