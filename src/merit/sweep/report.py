"""Renders the report of a sweep: one self-contained HTML page in the style of the gate's report."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from merit import artifacts
from merit.gate.report.escape import plain
from merit.sweep import labels, plots, selection_bias
from merit.sweep.importance import Importance, measure
from merit.sweep.record import Sweep

MOST_TRIALS = 2_000
"""Maximum number of done trials that the page lists, best first, and of other trials."""
LONG = 600
"""Maximum characters of a displayed value, such as an error."""


def write(sweep: Sweep) -> Path:
    """Write reports/sweep.html and return its path.

    Raises:
        MeritError: it can't be written.
    """
    artifacts.write_text(artifacts.SWEEP_HTML, html(sweep))
    return artifacts.SWEEP_HTML


def html(sweep: Sweep) -> str:
    """Render the page."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("merit.sweep"), PackageLoader("merit.gate.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value, LONG),
    )
    environment.filters |= {"number": labels.number, "setting": labels.setting, "duration": labels.duration}
    return environment.get_template("sweep.html.j2").render(_view(sweep))


def _view(sweep: Sweep) -> dict[str, Any]:
    ranked, keys = labels.ranked(sweep), labels.parameters(sweep)
    found = [measure(sweep, metric) for metric in sweep.objectives]
    others = [trial for trial in sweep.trials if trial.state != "done"]
    several = len(sweep.objectives) > 1
    front = sorted(sweep.front(), key=lambda t: t.values[next(iter(sweep.objectives))]) if several and ranked else []
    return {
        "sweep": sweep,
        "words": labels,
        "best": ranked[0] if ranked and not several else None,
        "front": front,
        "chosen": {trial.number for trial in front} or ({ranked[0].number} if ranked else set()),
        "ranked": ranked[:MOST_TRIALS],
        "others": others[:MOST_TRIALS],
        "lines": plots.MOST_LINES,
        "left_out": max(0, len(ranked) - MOST_TRIALS) + max(0, len(others) - MOST_TRIALS),
        "keys": keys,
        "names": labels.short(keys),
        "trust": selection_bias.sentences(sweep),
        "importance": found,
        "plots": _plots(sweep, found),
        "radius": 5.0 if len(sweep.trials) <= 100 else 2.5,
        "spent": sum(trial.seconds for trial in sweep.trials),
        "took": _took(sweep),
    }


def _took(sweep: Sweep) -> float:
    """Return the seconds from the start of the first trial to the end of the last."""
    begun = [trial for trial in sweep.trials if trial.started]
    return max(t.started + t.seconds for t in begun) - min(t.started for t in begun) if begun else 0.0


def _plots(sweep: Sweep, found: list[Importance]) -> dict[str, Any]:
    ranked = labels.ranked(sweep)
    if not ranked:
        return {"parallel": None, "small": []}
    small = [
        (f"{metric} of each trial, and the best so far", plots.history(sweep, metric)) for metric in sweep.objectives
    ]
    if len(sweep.objectives) == 2:
        small.insert(0, ("Pareto front: no trial is better in both", plots.front(sweep)))
    return {"parallel": plots.parallel(sweep, found[0].shares) if len(ranked) > 1 else None, "small": small}
