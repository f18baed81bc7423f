"""Formatting and ordering of trials that a sweep's table, page and log lines share."""

import math
import shlex
from collections import Counter
from collections.abc import Iterable

from merit.console.masking import masked
from merit.sweep.record import Sweep, Trial

STATES = ("done", "pruned", "failed", "killed", "running")
FINAL = STATES[:-1]
NOTHING = "-"
MOST_NAMED = 10
"""Maximum number of trials of a front that a line names."""


def number(value: float | None) -> str:
    """Format a metric with four decimals, or with four significant digits if it is very small or large.

    Example:
        >>> number(0.41237), number(0.000041237), number(None)
        ('0.4124', '4.124e-05', '-')
    """
    if value is None:
        return NOTHING
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.4g}"


def setting(text: str | None) -> str:
    """Format a parameter's value; a number of more than six characters is rounded to four significant digits."""
    if text is None:
        return NOTHING
    try:
        return f"{float(text):.4g}" if len(text) > 6 else text
    except ValueError:
        return text


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours, such as `4.2 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def score(sweep: Sweep, trial: Trial) -> str:
    """Format a trial's value of each objective, such as `log_loss 0.4124`."""
    return ", ".join(f"{metric} {number(trial.values.get(metric))}" for metric in sweep.objectives)


def seen(trial: Trial, metric: str) -> float | None:
    """Return a trial's metric, or the last one that it reported if it has no result; None if there is none."""
    name = f"validation_{metric}"
    found = trial.values.get(metric, next((row[name] for row in reversed(trial.history) if name in row), math.nan))
    return found if math.isfinite(found) else None


def parameters(sweep: Sweep) -> list[str]:
    """Return the keys in which trials differ: those of the search space in its order, then others that vary."""
    keys = dict.fromkeys([*sweep.space, *(key for trial in sweep.trials for key in trial.overrides)])
    told = {key: {trial.overrides.get(key) for trial in sweep.trials} for key in keys}
    return [key for key in keys if key in sweep.space or len(told[key]) > 1]


def command(sweep: Sweep) -> str:
    """Return the command that started a sweep, with secrets masked."""
    return masked(shlex.join(["merit", "train", "-m", *sweep.launcher, *sweep.settings, *sweep.overrides]))


def following(sweep: Sweep) -> str:
    """Return the hint on how to adopt the best trial, as the end of a sentence; empty if no trial is done."""
    front = sweep.front()
    if not front:
        return ""
    if len(sweep.objectives) == 1:
        return "; next: 'merit sweep adopt'"
    told = ", ".join(str(trial.number) for trial in front[:MOST_NAMED])
    more = f" and {len(front) - MOST_NAMED} more" if len(front) > MOST_NAMED else ""
    return f"; next: 'merit sweep adopt N' with N from the front: {told}{more}"


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return the shortest unambiguous suffix of each dotted key.

    Example:
        >>> short(["model.dropout", "model.input_dropout", "optimizer.lr"])["optimizer.lr"]
        'lr'
    """
    whole = list(keys)
    ends = Counter(end for key in whole for end in _ends(key))
    return {key: next((end for end in _ends(key) if ends[end] == 1), key) for key in whole}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[place:]) for place in range(len(parts) - 1, -1, -1)]


def cost(sweep: Sweep, trial: Trial, metric: str) -> float:
    """Return a trial's metric, negated if it is maximized, so that less is better."""
    return -trial.values[metric] if sweep.objectives[metric] == "maximize" else trial.values[metric]


def done(sweep: Sweep) -> list[Trial]:
    """Return the trials that are done and have a finite value of each objective."""
    return [
        trial
        for trial in sweep.trials
        if trial.state == "done" and all(math.isfinite(trial.values.get(m, math.nan)) for m in sweep.objectives)
    ]


def ranked(sweep: Sweep) -> list[Trial]:
    """Return the done trials, best first by the first objective; the Pareto front of several objectives comes first."""
    front = {trial.number for trial in sweep.front()} if len(sweep.objectives) > 1 else set()
    metric = next(iter(sweep.objectives))
    return sorted(done(sweep), key=lambda t: (t.number not in front, cost(sweep, t, metric), t.number))


def counts(sweep: Sweep) -> str:
    """Return the number of trials in total and by state, such as `3 trials: 2 done, 1 failed`."""
    found = Counter(trial.state for trial in sweep.trials)
    total = len(sweep.trials)
    parts = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    return f"{total} trial{'' if total == 1 else 's'}{f': {parts}' if parts else ''}"


def key_of(trial: Trial, keys: Iterable[str], names: dict[str, str]) -> str:
    """Format a trial's parameters on one line."""
    return " ".join(f"{names[key]}={setting(trial.overrides[key])}" for key in keys if key in trial.overrides)
