"""What a sweep's table, page and lines say alike: figures, names, order."""

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
"""Trials of a front that a line names."""


def number(value: float | None) -> str:
    """Return a figure to four digits behind the point, or four in all where that says more."""
    if value is None:
        return NOTHING
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.4g}"


def setting(text: str | None) -> str:
    """Return a parameter's value, cut to four digits if it is a long number."""
    if text is None:
        return NOTHING
    try:
        return f"{float(text):.4g}" if len(text) > 6 else text
    except ValueError:
        return text


def duration(seconds: float) -> str:
    """Return a time in the units that people would use."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def score(sweep: Sweep, trial: Trial) -> str:
    """Return what a trial reached in each objective."""
    return ", ".join(f"{metric} {number(trial.values.get(metric))}" for metric in sweep.objectives)


def seen(trial: Trial, metric: str) -> float | None:
    """Return a trial's figure, or the last one that it reported if it was stopped before its end."""
    name = f"validation_{metric}"
    found = trial.values.get(metric, next((row[name] for row in reversed(trial.history) if name in row), math.nan))
    return found if math.isfinite(found) else None


def parameters(sweep: Sweep) -> list[str]:
    """Return the keys that tell trials apart, in the order of the space."""
    keys = dict.fromkeys([*sweep.space, *(key for trial in sweep.trials for key in trial.overrides)])
    told = {key: {trial.overrides.get(key) for trial in sweep.trials} for key in keys}
    return [key for key in keys if key in sweep.space or len(told[key]) > 1]


def command(sweep: Sweep) -> str:
    """Return the command that asked for a sweep, without secrets."""
    return masked(shlex.join(["merit", "train", "-m", *sweep.launcher, *sweep.settings, *sweep.overrides]))


def following(sweep: Sweep) -> str:
    """Return how the best trial is adopted, as the end of a sentence; empty if there is none."""
    front = sweep.front()
    if not front:
        return ""
    if len(sweep.objectives) == 1:
        return "; next: 'merit sweep adopt'"
    told = ", ".join(str(trial.number) for trial in front[:MOST_NAMED])
    more = f" and {len(front) - MOST_NAMED} more" if len(front) > MOST_NAMED else ""
    return f"; next: 'merit sweep adopt N' with N from the front: {told}{more}"


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return for each key the shortest end of it that names no other."""
    whole = list(keys)
    ends = Counter(end for key in whole for end in _ends(key))
    return {key: next((end for end in _ends(key) if ends[end] == 1), key) for key in whole}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[place:]) for place in range(len(parts) - 1, -1, -1)]


def cost(sweep: Sweep, trial: Trial, metric: str) -> float:
    """Return a trial's figure so that less is better."""
    return -trial.values[metric] if sweep.objectives[metric] == "maximize" else trial.values[metric]


def done(sweep: Sweep) -> list[Trial]:
    """Return the trials that ran to their end and have a figure for each objective."""
    return [
        trial
        for trial in sweep.trials
        if trial.state == "done" and all(math.isfinite(trial.values.get(m, math.nan)) for m in sweep.objectives)
    ]


def ranked(sweep: Sweep) -> list[Trial]:
    """Return the trials that are done, the best first; of several objectives those of the front first."""
    front = {trial.number for trial in sweep.front()} if len(sweep.objectives) > 1 else set()
    metric = next(iter(sweep.objectives))
    return sorted(done(sweep), key=lambda t: (t.number not in front, cost(sweep, t, metric), t.number))


def counts(sweep: Sweep) -> str:
    """Return how many trials there are, by what became of them."""
    found = Counter(trial.state for trial in sweep.trials)
    total = len(sweep.trials)
    parts = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    return f"{total} trial{'' if total == 1 else 's'}{f': {parts}' if parts else ''}"


def key_of(trial: Trial, keys: Iterable[str], names: dict[str, str]) -> str:
    """Return a trial's parameters on one line."""
    return " ".join(f"{names[key]}={setting(trial.overrides[key])}" for key in keys if key in trial.overrides)
