"""Renders the report of a sweep: one self-contained HTML page in the style of the gate's report."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from merit import artifacts
from merit.gate.report.escape import sanitize_line
from merit.sweep.record import Sweep
from merit.sweep.report import labels, plots, selection_bias
from merit.sweep.report.importance import Importance, measure_importance

MAX_TRIALS = 2_000
"""Maximum number of done trials that the page lists, best first, and of other trials."""
MAX_VALUE_CHARS = 600
"""Maximum characters of a displayed value, such as an error."""


def write_report(sweep: Sweep) -> Path:
    """Write reports/sweep.html and return its path.

    Raises:
        MeritError: it can't be written.
    """
    artifacts.write_text(artifacts.SWEEP_HTML, render_html(sweep))
    return artifacts.SWEEP_HTML


def render_html(sweep: Sweep) -> str:
    """Render the page."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("merit.sweep.report"), PackageLoader("merit.gate.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else sanitize_line(value, MAX_VALUE_CHARS),
    )
    environment.filters |= {
        "number": labels.format_number,
        "setting": labels.format_setting,
        "duration": labels.format_duration,
    }
    return environment.get_template("sweep.html.j2").render(_build_context(sweep))


def _build_context(sweep: Sweep) -> dict[str, Any]:
    ranked, keys = labels.rank_trials(sweep), labels.list_parameters(sweep)
    importances = [measure_importance(sweep, metric) for metric in sweep.objectives]
    others = [trial for trial in sweep.trials if trial.state != "done"]
    is_multi_objective = len(sweep.objectives) > 1
    front = (
        sorted(sweep.find_front(), key=lambda t: t.values[next(iter(sweep.objectives))])
        if is_multi_objective and ranked
        else []
    )
    return {
        "sweep": sweep,
        "labels": labels,
        "best": ranked[0] if ranked and not is_multi_objective else None,
        "front": front,
        "chosen": {trial.number for trial in front} or ({ranked[0].number} if ranked else set()),
        "ranked": ranked[:MAX_TRIALS],
        "others": others[:MAX_TRIALS],
        "lines": plots.MAX_LINES,
        "left_out": max(0, len(ranked) - MAX_TRIALS) + max(0, len(others) - MAX_TRIALS),
        "keys": keys,
        "names": labels.shorten_keys(keys),
        "trust": selection_bias.describe_selection_bias(sweep),
        "importance": importances,
        "plots": _render_plots(sweep, importances),
        "radius": 5.0 if len(sweep.trials) <= 100 else 2.5,
        "spent": sum(trial.seconds for trial in sweep.trials),
        "took": _measure_elapsed(sweep),
    }


def _measure_elapsed(sweep: Sweep) -> float:
    """Return the seconds from the start of the first trial to the end of the last."""
    started = [trial for trial in sweep.trials if trial.started]
    return max(t.started + t.seconds for t in started) - min(t.started for t in started) if started else 0.0


def _render_plots(sweep: Sweep, importances: list[Importance]) -> dict[str, Any]:
    ranked = labels.rank_trials(sweep)
    if not ranked:
        return {"parallel": None, "small": []}
    small = [
        (f"{metric} of each trial, and the best so far", plots.draw_history(sweep, metric))
        for metric in sweep.objectives
    ]
    if len(sweep.objectives) == 2:
        small.insert(0, ("Pareto front: no trial is better in both", plots.draw_front(sweep)))
    return {"parallel": plots.draw_parallel(sweep, importances[0].shares) if len(ranked) > 1 else None, "small": small}
