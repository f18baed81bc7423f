"""Formatting and ordering of trials that a sweep's table, page and log lines share."""

import math
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from merit.console.masking import mask_secrets
from merit.sweep.record import Sweep, Trial

STATES = ("done", "pruned", "failed", "killed", "running")
FINAL_STATES = STATES[:-1]
PLACEHOLDER = "-"
MAX_NAMED_TRIALS = 10
"""Maximum number of trials of a front that a line names."""


def format_number(value: float | None) -> str:
    """Format a metric with four decimals, or with four significant digits if it is very small or large.

    Example:
        >>> format_number(0.41237), format_number(0.000041237), format_number(None)
        ('0.4124', '4.124e-05', '-')
    """
    if value is None:
        return PLACEHOLDER
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.4g}"


def format_setting(text: str | None) -> str:
    """Format a parameter's value; a number of more than six characters is rounded to four significant digits."""
    if text is None:
        return PLACEHOLDER
    try:
        return f"{float(text):.4g}" if len(text) > 6 else text
    except ValueError:
        return text


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours, such as `4.2 s`, `3 min 05 s` or `2 h 10 min`."""
    whole_seconds = max(0, round(seconds))
    if whole_seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    if whole_seconds < 3600:
        return f"{whole_seconds // 60} min {whole_seconds % 60:02} s"
    return f"{whole_seconds // 3600} h {whole_seconds % 3600 // 60:02} min"


def format_score(sweep: Sweep, trial: Trial) -> str:
    """Format a trial's value of each objective, such as `log_loss 0.4124`."""
    return ", ".join(f"{metric} {format_number(trial.values.get(metric))}" for metric in sweep.objectives)


def describe_sweep(sweep: Sweep) -> dict[str, Any]:
    """Return what `merit sweep list` says of a sweep, for JSON."""
    best = sweep.find_best()
    return {
        "name": sweep.name,
        "created": sweep.created,
        "finished": sum(trial.state in FINAL_STATES for trial in sweep.trials),
        "planned": sweep.planned,
        "best": None if best is None else describe_trial(best),
    }


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return a trial for JSON, without its folder."""
    return {each.name: getattr(trial, each.name) for each in fields(trial) if each.name != "folder"}


def describe_trials(sweep: Sweep) -> dict[str, Any]:
    """Return what `merit sweep show` says of a sweep, for JSON; trials in the order of their numbers."""
    return {
        **describe_sweep(sweep),
        "objectives": sweep.objectives,
        "command": render_command(sweep),
        "commit": sweep.commit,
        "trials": [describe_trial(trial) for trial in sweep.trials],
    }


def render_summary(sweep: Sweep) -> str:
    """Return the line of `merit sweep list`."""
    facts, best = describe_sweep(sweep), sweep.find_best()
    best_text = "" if best is None else f"  trial {best.number}: {format_score(sweep, best)}"
    return f"{sweep.name}  {facts['finished']} of {sweep.planned or '?'} trials{best_text}"


def find_latest_value(trial: Trial, metric: str) -> float | None:
    """Return a trial's metric, or the last one that it reported if it has no result; None if there is none."""
    name = f"validation_{metric}"
    value = trial.values.get(metric, next((row[name] for row in reversed(trial.history) if name in row), math.nan))
    return value if math.isfinite(value) else None


def list_parameters(sweep: Sweep) -> list[str]:
    """Return the keys in which trials differ: those of the search space in its order, then others that vary."""
    keys = dict.fromkeys([*sweep.space, *(key for trial in sweep.trials for key in trial.overrides)])
    values = {key: {trial.overrides.get(key) for trial in sweep.trials} for key in keys}
    return [key for key in keys if key in sweep.space or len(values[key]) > 1]


def render_command(sweep: Sweep) -> str:
    """Return the command that started a sweep, with secrets masked."""
    return mask_secrets(shlex.join(["merit", "train", "-m", *sweep.launcher, *sweep.settings, *sweep.overrides]))


def describe_next_step(sweep: Sweep) -> str:
    """Return the hint on how to adopt the best trial, as the end of a sentence; empty if no trial is done."""
    front = sweep.find_front()
    if not front:
        return ""
    if len(sweep.objectives) == 1:
        return "; next: 'merit sweep adopt'"
    numbers = ", ".join(str(trial.number) for trial in front[:MAX_NAMED_TRIALS])
    more = f" and {len(front) - MAX_NAMED_TRIALS} more" if len(front) > MAX_NAMED_TRIALS else ""
    return f"; next: 'merit sweep adopt N' with N from the front: {numbers}{more}"


def shorten_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return the shortest unambiguous suffix of each dotted key.

    Example:
        >>> shorten_keys(["model.dropout", "model.input_dropout", "optimizer.lr"])["optimizer.lr"]
        'lr'
    """
    all_keys = list(keys)
    suffix_counts = Counter(suffix for key in all_keys for suffix in _list_suffixes(key))
    return {key: next((end for end in _list_suffixes(key) if suffix_counts[end] == 1), key) for key in all_keys}


def _list_suffixes(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[index:]) for index in range(len(parts) - 1, -1, -1)]


def compute_cost(sweep: Sweep, trial: Trial, metric: str) -> float:
    """Return a trial's metric, negated if it is maximized, so that less is better."""
    return -trial.values[metric] if sweep.objectives[metric] == "maximize" else trial.values[metric]


def list_done(sweep: Sweep) -> list[Trial]:
    """Return the trials that are done and have a finite value of each objective."""
    return [
        trial
        for trial in sweep.trials
        if trial.state == "done" and all(math.isfinite(trial.values.get(m, math.nan)) for m in sweep.objectives)
    ]


def rank_trials(sweep: Sweep) -> list[Trial]:
    """Return the done trials, best first by the first objective; the Pareto front of several objectives comes first."""
    front = {trial.number for trial in sweep.find_front()} if len(sweep.objectives) > 1 else set()
    metric = next(iter(sweep.objectives))
    return sorted(list_done(sweep), key=lambda t: (t.number not in front, compute_cost(sweep, t, metric), t.number))


def format_counts(sweep: Sweep) -> str:
    """Return the number of trials in total and by state, such as `3 trials: 2 done, 1 failed`."""
    state_counts = Counter(trial.state for trial in sweep.trials)
    total = len(sweep.trials)
    parts = ", ".join(f"{state_counts[state]} {state}" for state in STATES if state_counts[state])
    return f"{total} trial{'' if total == 1 else 's'}{f': {parts}' if parts else ''}"


def format_settings(trial: Trial, keys: Iterable[str], names: dict[str, str]) -> str:
    """Format a trial's parameters on one line."""
    return " ".join(f"{names[key]}={format_setting(trial.overrides[key])}" for key in keys if key in trial.overrides)
