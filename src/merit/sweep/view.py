"""Shows a sweep on the console: a live table on a terminal, one line per trial elsewhere, a sorted table at the end."""

import time
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.markup import escape
from rich.table import Table

from merit.console.tables import fit
from merit.gate.report.escape import plain
from merit.sweep import labels, selection_bias
from merit.sweep.record import Sweep, Trial

COMPLETE = ("done", "pruned")
"""States of trials whose durations are used to estimate the time left."""
STYLES = {"done": "green", "pruned": "yellow", "failed": "red", "killed": "red", "running": "cyan"}
OTHER_LINES = 8
"""Lines of the terminal that the live table reserves for its header, its footer and the prompt."""
PER_SECOND = 2
"""Refreshes of the live table per second."""
WIDE = 160
"""Width of the table in a pipe or a file, where numbers must not wrap."""
LONG, SHORT, WHOLE = 24, 60, 600
"""Maximum characters of a value in the table, of an error in the table, and of an error on a line of its own."""
MOST_REASONS, MOST_NUMBERS = 5, 8
"""Maximum number of errors below the table, and of trials named for each."""


class Live:
    """Shows a sweep while it runs.

    Args:
        console: the output; if it isn't a terminal, it gets a line per ended trial.
        objectives: direction of each metric.
        planned: number of trials; None if it is not known.
    """

    def __init__(self, console: Console, objectives: dict[str, str], planned: int | None) -> None:
        self._console, self._objectives, self._planned = console, objectives, planned
        self._sweep: Sweep | None = None
        self._told: set[int] | None = None
        self._is_estimated = False
        self._began = time.time()
        self._screen: Screen | None = None

    def __enter__(self) -> Self:
        """Start the live table, if the console is a terminal."""
        if self._console.is_terminal:
            self._screen = Screen(
                get_renderable=self._shown, console=self._console, refresh_per_second=PER_SECOND, transient=True
            )
            self._screen.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the live table."""
        if self._screen is not None:
            self._screen.stop()

    def update(self, sweep: Sweep) -> None:
        """Show the current state of the sweep."""
        self._sweep = sweep
        if self._screen is None:
            self._print(sweep)

    def _print(self, sweep: Sweep) -> None:
        ended = [trial for trial in sweep.trials if trial.state in labels.FINAL]
        if self._told is None:
            before = {trial.number for trial in ended if 0 < trial.started + trial.seconds < self._began}
            if before:
                self._console.print(f"{len(before)} trials ended before", highlight=False)
            self._told = before
        if not ended and not self._is_estimated and time_left(sweep, self._planned, time.time()) is not None:
            self._is_estimated = True
            self._console.print("  ".join(status(sweep, self._planned, time.time())), highlight=False, soft_wrap=True)
        for trial in sorted((t for t in ended if t.number not in self._told), key=lambda t: t.started + t.seconds):
            self._told.add(trial.number)
            self._console.print(line(sweep, trial, self._planned), highlight=False, markup=False, soft_wrap=True)

    def _shown(self) -> RenderableType:
        if self._sweep is None:
            return "no trial has begun yet"
        most = max(4, self._console.height - OTHER_LINES)
        return live(self._sweep, self._planned, time.time(), most, self._console.width)


def line(sweep: Sweep, trial: Trial, planned: int | None) -> str:
    """Return the log line of an ended trial."""
    keys = labels.parameters(sweep)
    parts = [f"trial {trial.number:>3}", f"{trial.state:<6}", _figures(sweep, trial), labels.duration(trial.seconds)]
    parts.append(plain(labels.key_of(trial, keys, labels.short(keys))))
    if trial.error:
        parts.append(plain(trial.error, WHOLE))
    return "  ".join([*filter(None, parts), *status(sweep, planned, time.time())])


def _figures(sweep: Sweep, trial: Trial) -> str:
    figures = {metric: labels.seen(trial, metric) for metric in sweep.objectives}
    return ", ".join(f"{metric} {labels.number(value)}" for metric, value in figures.items() if value is not None)


def status(sweep: Sweep, planned: int | None, now: float) -> list[str]:
    """Return how far a sweep is: the best so far, how many have ended, and about how long the others will take."""
    ended = sum(trial.state in labels.FINAL for trial in sweep.trials)
    best = sweep.best() if labels.done(sweep) else None
    told = [] if best is None else [f"best {labels.score(sweep, best)} (trial {best.number})"]
    if len(sweep.objectives) > 1 and (front := sweep.front()):
        told = [f"front {', '.join(str(trial.number) for trial in front)}"]
    told.append(f"{ended}/{planned}" if planned else f"{ended} ended")
    left = time_left(sweep, planned, now)
    near = "about" if any(trial.state in COMPLETE for trial in sweep.trials) else "up to"
    return [*told, *([] if left is None or left < 1 else [f"{near} {labels.duration(left)} left"])]


def time_left(sweep: Sweep, planned: int | None, now: float) -> float | None:
    """Estimate the seconds that the remaining trials will take at the present concurrency.

    A trial is assumed to take as long as the mean of the ended ones; before one has ended, as long as the running ones
    will take by their epochs so far, without early stopping. None before the first epoch, if the number of trials is
    unknown, and after the last trial.
    """
    running = [trial for trial in sweep.trials if trial.state == "running"]
    closed = sum(trial.state in labels.FINAL for trial in sweep.trials)
    whole = [trial.seconds for trial in sweep.trials if trial.state in COMPLETE] or _projected(running, now)
    if not whole or planned is None or closed >= planned:
        return None
    each = sum(whole) / len(whole)
    begun = sum(max(0.0, each - max(0.0, now - trial.started)) for trial in running)
    waiting = max(0, planned - closed - len(running))
    return (begun + waiting * each) / max(1, len(running))


def _projected(running: list[Trial], now: float) -> list[float]:
    """Return the projected total seconds of each running trial that has finished an epoch."""
    return [
        (now - trial.started) * trial.max_epochs / trial.epochs
        for trial in running
        if trial.epochs and trial.max_epochs
    ]


def live(sweep: Sweep, planned: int | None, now: float, most: int, width: int) -> RenderableType:
    """Return the live table: running trials, the best one, then the others by latest end, at most `most` rows."""
    running = [trial for trial in sweep.trials if trial.state == "running"]
    ended = sorted((t for t in sweep.trials if t.state in labels.FINAL), key=lambda t: -(t.started + t.seconds))
    best = sweep.best() if labels.done(sweep) else None
    shown = [*running, *([best] if best else []), *(trial for trial in ended if trial is not best)][:most]
    told = "   ".join(status(sweep, planned, now))
    return Group(fit(_table(sweep, shown, best, now), width), f"[bold]{escape(plain(sweep.name))}[/]   {escape(told)}")


def table(sweep: Sweep) -> Table:
    """Return all trials as a table: done trials, best first, then the others by state."""
    best = labels.ranked(sweep)
    others = sorted((t for t in sweep.trials if t not in best), key=lambda t: (labels.STATES.index(t.state), t.number))
    marked = best[0] if best and len(sweep.objectives) == 1 else None
    return _table(sweep, [*best, *others], marked, time.time())


def show(console: Console, sweep: Sweep) -> None:
    """Print the sorted table, the errors that it cuts off and the notes on selection bias.

    Off a terminal the table is at least `WIDE` columns wide.
    """
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    console.print(fit(table(sweep), console.width))
    for line in reasons(sweep):
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    for sentence in selection_bias.sentences(sweep):
        console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def reasons(sweep: Sweep) -> list[str]:
    """Return the errors that the table cuts off: a line per distinct error with its trials, most frequent first."""
    numbers: dict[str, list[str]] = {}
    for trial in sweep.trials:
        if trial.error and len(trial.error) > SHORT:
            numbers.setdefault(plain(trial.error, WHOLE), []).append(str(trial.number))
    ranked = sorted(numbers.items(), key=lambda each: -len(each[1]))[:MOST_REASONS]
    return [f"trial{'s' * (len(of) > 1)} {', '.join(of[:MOST_NUMBERS])}{', ...' * (len(of) > MOST_NUMBERS)}: {why}"
            for why, of in ranked]  # fmt: skip


def _table(sweep: Sweep, trials: list[Trial], best: Trial | None, now: float) -> Table:
    keys = labels.parameters(sweep)
    names = labels.short(keys)
    front = {trial.number for trial in sweep.front()} if len(sweep.objectives) > 1 and labels.done(sweep) else set()
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("trial", justify="right", no_wrap=True)
    for key in keys:
        made.add_column(escape(plain(names[key])), min_width=6)
    for metric in sweep.objectives:
        made.add_column(escape(plain(metric)), justify="right", no_wrap=True)
    made.add_column("state", min_width=7)
    made.add_column("epochs", justify="right", no_wrap=True)
    made.add_column("time", justify="right", no_wrap=True)
    for trial in trials:
        made.add_row(*_row(sweep, trial, keys, now), style="bold" if trial is best or trial.number in front else "")
    return made


def _row(sweep: Sweep, trial: Trial, keys: list[str], now: float) -> list[str]:
    why = f": {plain(trial.error, SHORT)}" if trial.error else ""
    took = now - trial.started if trial.state == "running" and trial.started else trial.seconds
    figures = [labels.number(labels.seen(trial, metric)) for metric in sweep.objectives]
    partial = trial.state != "done"
    return [
        str(trial.number),
        *(escape(plain(labels.setting(trial.overrides.get(key)), LONG)) for key in keys),
        *(f"[dim]{figure}[/]" if partial else figure for figure in figures),
        f"[{STYLES[trial.state]}]{trial.state}[/]{escape(why)}",
        _epochs(trial),
        labels.duration(took),
    ]


def _epochs(trial: Trial) -> str:
    done = trial.epochs or len(trial.history)
    if trial.state == "running" and trial.max_epochs:
        return f"{done}/{trial.max_epochs}"
    return str(done or labels.NOTHING)
