"""Shows a sweep on the console: a live table on a terminal, one line per trial elsewhere, a sorted table at the end."""

import time
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from merit.console import logging
from merit.console.tables import fit_table
from merit.gate.report.escape import sanitize_line
from merit.sweep.record import Sweep, Trial
from merit.sweep.report import labels, selection_bias

COMPLETE_STATES = ("done", "pruned")
"""States of trials whose durations are used to estimate the time left."""
STYLES = {"done": "green", "pruned": "yellow", "failed": "red", "killed": "red", "running": "cyan"}
RESERVED_LINES = 8
"""Lines of the terminal that the live table reserves for its header, its footer and the prompt."""
REFRESHES_PER_SECOND = 2
"""Refreshes of the live table per second."""
MIN_TABLE_WIDTH = 160
"""Width of the table in a pipe or a file, where numbers must not wrap."""
MAX_VALUE_CHARS, MAX_ERROR_CHARS, MAX_ERROR_LINE_CHARS = 24, 60, 600
"""Maximum characters of a value in the table, of an error in the table, and of an error on a line of its own."""
MAX_ERRORS, MAX_TRIALS_PER_ERROR = 5, 8
"""Maximum number of errors below the table, and of trials named for each."""


class LiveTable:
    """Shows a sweep while it runs.

    Args:
        console: the output; if it isn't a terminal, each ended trial gets a line of the log.
        objectives: direction of each metric.
        planned: number of trials; None if it is not known.
    """

    def __init__(self, console: Console, objectives: dict[str, str], planned: int | None) -> None:
        self._console, self._objectives, self._planned = console, objectives, planned
        self._sweep: Sweep | None = None
        self._reported: set[int] | None = None
        self._is_estimated = False
        self._started = time.time()
        self._screen: Live | None = None

    def __enter__(self) -> Self:
        """Start the live table, if the console is a terminal."""
        if logging.shows_bars(self._console):
            self._screen = Live(
                get_renderable=self._render_table,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the live table."""
        if self._screen is not None:
            self._screen.stop()

    def update(self, sweep: Sweep) -> None:
        """Show the current state of the sweep."""
        self._sweep = sweep
        if self._screen is None:
            self._print_ended_trials(sweep)

    def _print_ended_trials(self, sweep: Sweep) -> None:
        ended = [trial for trial in sweep.trials if trial.state in labels.FINAL_STATES]
        if self._reported is None:
            earlier = {trial.number for trial in ended if 0 < trial.started + trial.seconds < self._started}
            if earlier:
                logging.show_line(f"{len(earlier)} trials ended before")
            self._reported = earlier
        if not ended and not self._is_estimated and estimate_time_left(sweep, self._planned, time.time()) is not None:
            self._is_estimated = True
            logging.show_line("  ".join(describe_status(sweep, self._planned, time.time())))
        for trial in sorted((t for t in ended if t.number not in self._reported), key=lambda t: t.started + t.seconds):
            self._reported.add(trial.number)
            logging.show_line(format_trial_line(sweep, trial, self._planned))

    def _render_table(self) -> RenderableType:
        if self._sweep is None:
            return "no trial has begun yet"
        max_rows = max(4, self._console.height - RESERVED_LINES)
        return render_live_table(self._sweep, self._planned, time.time(), max_rows, self._console.width)


def format_trial_line(sweep: Sweep, trial: Trial, planned: int | None) -> str:
    """Return the log line of an ended trial."""
    keys = labels.list_parameters(sweep)
    parts = [
        f"trial {trial.number:>3}",
        f"{trial.state:<6}",
        _format_metrics(sweep, trial),
        labels.format_duration(trial.seconds),
    ]
    parts.append(sanitize_line(labels.format_settings(trial, keys, labels.shorten_keys(keys))))
    if trial.error:
        parts.append(sanitize_line(trial.error, MAX_ERROR_LINE_CHARS))
    return "  ".join([*filter(None, parts), *describe_status(sweep, planned, time.time())])


def _format_metrics(sweep: Sweep, trial: Trial) -> str:
    values = {metric: labels.find_latest_value(trial, metric) for metric in sweep.objectives}
    return ", ".join(f"{metric} {labels.format_number(value)}" for metric, value in values.items() if value is not None)


def describe_status(sweep: Sweep, planned: int | None, now: float) -> list[str]:
    """Return how far a sweep is: the best so far, how many have ended, and about how long the others will take."""
    ended = sum(trial.state in labels.FINAL_STATES for trial in sweep.trials)
    best = sweep.find_best() if labels.list_done(sweep) else None
    parts = [] if best is None else [f"best {labels.format_score(sweep, best)} (trial {best.number})"]
    if len(sweep.objectives) > 1 and (front := sweep.find_front()):
        parts = [f"front {', '.join(str(trial.number) for trial in front)}"]
    parts.append(f"{ended}/{planned}" if planned else f"{ended} ended")
    seconds_left = estimate_time_left(sweep, planned, now)
    qualifier = "about" if any(trial.state in COMPLETE_STATES for trial in sweep.trials) else "up to"
    return [
        *parts,
        *(
            []
            if seconds_left is None or seconds_left < 1
            else [f"{qualifier} {labels.format_duration(seconds_left)} left"]
        ),
    ]


def estimate_time_left(sweep: Sweep, planned: int | None, now: float) -> float | None:
    """Estimate the seconds that the remaining trials will take at the present concurrency.

    A trial is assumed to take as long as the mean of the ended ones; before one has ended, as long as the running ones
    will take by their epochs so far, without early stopping. None before the first epoch, if the number of trials is
    unknown, and after the last trial.
    """
    running = [trial for trial in sweep.trials if trial.state == "running"]
    ended = sum(trial.state in labels.FINAL_STATES for trial in sweep.trials)
    durations = [trial.seconds for trial in sweep.trials if trial.state in COMPLETE_STATES] or _project_durations(
        running, now
    )
    if not durations or planned is None or ended >= planned:
        return None
    mean_seconds = sum(durations) / len(durations)
    running_seconds = sum(max(0.0, mean_seconds - max(0.0, now - trial.started)) for trial in running)
    waiting = max(0, planned - ended - len(running))
    return (running_seconds + waiting * mean_seconds) / max(1, len(running))


def _project_durations(running: list[Trial], now: float) -> list[float]:
    """Return the projected total seconds of each running trial that has finished an epoch."""
    return [
        (now - trial.started) * trial.max_epochs / trial.epochs
        for trial in running
        if trial.epochs and trial.max_epochs
    ]


def render_live_table(sweep: Sweep, planned: int | None, now: float, max_rows: int, width: int) -> RenderableType:
    """Return the live table: running trials, the best one, then the others by latest end, at most `max_rows` rows."""
    running = [trial for trial in sweep.trials if trial.state == "running"]
    ended = sorted((t for t in sweep.trials if t.state in labels.FINAL_STATES), key=lambda t: -(t.started + t.seconds))
    best = sweep.find_best() if labels.list_done(sweep) else None
    displayed = [*running, *([best] if best else []), *(trial for trial in ended if trial is not best)][:max_rows]
    status_line = "   ".join(describe_status(sweep, planned, now))
    return Group(
        fit_table(_build_table(sweep, displayed, best, now), width),
        f"[bold]{escape(sanitize_line(sweep.name))}[/]   {escape(status_line)}",
    )


def render_table(sweep: Sweep) -> Table:
    """Return all trials as a table: done trials, best first, then the others by state."""
    ranked = labels.rank_trials(sweep)
    others = sorted(
        (t for t in sweep.trials if t not in ranked), key=lambda t: (labels.STATES.index(t.state), t.number)
    )
    highlighted = ranked[0] if ranked and len(sweep.objectives) == 1 else None
    return _build_table(sweep, [*ranked, *others], highlighted, time.time())


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Print the sorted table, the errors that it cuts off and the notes on selection bias.

    Off a terminal the table is at least `MIN_TABLE_WIDTH` columns wide.
    """
    if not console.is_terminal:
        console.width = max(console.width, MIN_TABLE_WIDTH)
    console.print(fit_table(render_table(sweep), console.width))
    for line in summarize_errors(sweep):
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    for sentence in selection_bias.describe_selection_bias(sweep):
        console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def summarize_errors(sweep: Sweep) -> list[str]:
    """Return the errors that the table cuts off: a line per distinct error with its trials, most frequent first."""
    trial_numbers: dict[str, list[str]] = {}
    for trial in sweep.trials:
        if trial.error and len(trial.error) > MAX_ERROR_CHARS:
            trial_numbers.setdefault(sanitize_line(trial.error, MAX_ERROR_LINE_CHARS), []).append(str(trial.number))
    ranked = sorted(trial_numbers.items(), key=lambda each: -len(each[1]))[:MAX_ERRORS]
    return [
        f"trial{'s' * (len(affected) > 1)} "
        f"{', '.join(affected[:MAX_TRIALS_PER_ERROR])}{', ...' * (len(affected) > MAX_TRIALS_PER_ERROR)}: {error}"
        for error, affected in ranked
    ]


def _build_table(sweep: Sweep, trials: list[Trial], best: Trial | None, now: float) -> Table:
    keys = labels.list_parameters(sweep)
    names = labels.shorten_keys(keys)
    front = (
        {trial.number for trial in sweep.find_front()}
        if len(sweep.objectives) > 1 and labels.list_done(sweep)
        else set()
    )
    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rich_table.add_column("trial", justify="right", no_wrap=True)
    for key in keys:
        rich_table.add_column(escape(sanitize_line(names[key])), min_width=6)
    for metric in sweep.objectives:
        rich_table.add_column(escape(sanitize_line(metric)), justify="right", no_wrap=True)
    rich_table.add_column("state", min_width=7)
    rich_table.add_column("epochs", justify="right", no_wrap=True)
    rich_table.add_column("time", justify="right", no_wrap=True)
    for trial in trials:
        rich_table.add_row(
            *_format_row(sweep, trial, keys, now), style="bold" if trial is best or trial.number in front else ""
        )
    return rich_table


def _format_row(sweep: Sweep, trial: Trial, keys: list[str], now: float) -> list[str]:
    reason = f": {sanitize_line(trial.error, MAX_ERROR_CHARS)}" if trial.error else ""
    elapsed = now - trial.started if trial.state == "running" and trial.started else trial.seconds
    values = [labels.format_number(labels.find_latest_value(trial, metric)) for metric in sweep.objectives]
    partial = trial.state != "done"
    return [
        str(trial.number),
        *(escape(sanitize_line(labels.format_setting(trial.overrides.get(key)), MAX_VALUE_CHARS)) for key in keys),
        *(f"[dim]{value}[/]" if partial else value for value in values),
        f"[{STYLES[trial.state]}]{trial.state}[/]{escape(reason)}",
        _format_epochs(trial),
        labels.format_duration(elapsed),
    ]


def _format_epochs(trial: Trial) -> str:
    done = trial.epochs or len(trial.history)
    if trial.state == "running" and trial.max_epochs:
        return f"{done}/{trial.max_epochs}"
    return str(done or labels.PLACEHOLDER)
