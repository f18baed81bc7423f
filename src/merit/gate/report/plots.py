"""Draws the report's plots as SVG in the colours of the page, and reads the curves behind them."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from merit import artifacts
from merit.gate.report.sections import Estimate

# Placeholder colours for matplotlib: _svg replaces each by a CSS variable, so that plots follow light and dark mode.
INK, CANDIDATE, BASELINE = "#010203", "#010204", "#010205"
VARIABLES = {INK: "var(--ink)", CANDIDATE: "var(--candidate)", BASELINE: "var(--baseline)"}
MODELS = (("baseline", "gradient boosting", BASELINE), ("candidate", "candidate", CANDIDATE))
MOST_CLASSES = 30
"""Maximum number of classes for which a confusion matrix shows the names."""

MOST_POINTS = 100
"""Maximum number of points per curve in the report."""
WIDTH, HEIGHT = 200.0, 16.0
"""Size of a drawing in a table cell, in SVG user units."""

Rows = list[dict[str, str]]


def curves(task: str) -> dict[str, list[dict[str, float]]]:
    """Return the curves that are stored in gate.json, so that a comment can be drawn from the report alone."""
    file = artifacts.PLOTS / ("predicted.csv" if task == "regression" else "calibration.csv")
    bins = [row for row in _rows(file) if row["model"] == "candidate"]
    epochs = _rows(artifacts.HISTORY)
    return {
        "calibration": [{name: float(row[name]) for name in ("predicted", "observed")} for row in bins[:MOST_POINTS]],
        "loss": [
            {name: float(row[f"{name}_loss"]) for name in ("train", "validation")} for row in epochs[:MOST_POINTS]
        ],
    }


def strip(found: Estimate | None, scale: float, kind: str = "", centre: float = 0.0) -> Markup:
    """Draw an interval relative to a centre line, such as no difference.

    Args:
        found: the value and its interval.
        scale: the distance from the centre to either end of the drawing.
        kind: a CSS class of the page.
        centre: the value at the centre line.
    """
    if found is None or not found.is_known:
        return Markup("")
    low, value, high = (_place((number or 0.0) - centre, scale) for number in (found.low, found.value, found.high))
    middle = HEIGHT / 2
    return Markup(  # noqa: S704  # numbers, and a class that the template names
        f'<svg class="strip {kind}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">'
        f'<line class="zero" x1="{WIDTH / 2:g}" x2="{WIDTH / 2:g}" y1="0" y2="{HEIGHT:g}"/>'
        f'<line class="reach" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>'
        f'<circle cx="{value:.1f}" cy="{middle:g}" r="4"/></svg>'
    )


def _place(number: float, scale: float) -> float:
    inside = max(-1.0, min(1.0, number / scale))
    return WIDTH / 2 * (1 + 0.95 * inside)


def bar(share: float, kind: str = "") -> Markup:
    """Draw a share of a limit as a bar; the line in the middle marks the limit."""
    filled = WIDTH * min(1.0, share / 2)
    return Markup(  # noqa: S704  # numbers, and a class that the template names
        f'<svg class="strip {kind}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">'
        f'<rect class="ground" width="{WIDTH:g}" height="8" y="4"/>'
        f'<rect class="filled" width="{filled:.1f}" height="8" y="4"/>'
        f'<line class="zero" x1="{WIDTH / 2:g}" x2="{WIDTH / 2:g}" y1="0" y2="{HEIGHT:g}"/></svg>'
    )


def draw(task: str) -> list[tuple[str, Markup]]:
    """Draw the plots of a task from the curves that `evaluate` wrote; return the title and SVG of each."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "merit",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    drawings = []
    with mpl.rc_context(style | colours):  # type: ignore[arg-type]  # its keys are known to matplotlib alone
        for title, file, plot in [*PLOTS[task], ("Loss by epoch", artifacts.HISTORY, _history)]:
            figure = Figure(figsize=(3.6, 3.0), layout="constrained")
            plot(figure.subplots(), _rows(file))
            drawings.append((title, _svg(figure, title)))
    return drawings


def _rows(path: Path) -> Rows:
    with artifacts.require(path, "evaluate").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _lines(axes: Any, rows: Rows, x: str, y: str, **how: Any) -> None:
    for model, label, colour in MODELS:
        points = [(float(row[x]), float(row[y])) for row in rows if row["model"] == model]
        axes.plot(*zip(*points, strict=True), color=colour, label=label, **how)
    axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    axes.legend(frameon=False)


def _diagonal(axes: Any, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=INK, linewidth=0.6, linestyle=":")


def _roc(axes: Any, rows: Rows) -> None:
    _lines(axes, rows, "false_positive_rate", "true_positive_rate")
    _diagonal(axes, 0, 1)
    axes.set(xlim=(0, None), ylim=(0, None))


def _precision_recall(axes: Any, rows: Rows) -> None:
    _lines(axes, rows, "recall", "precision")
    axes.set(xlim=(0, None), ylim=(0, None))


def _observed(axes: Any, rows: Rows) -> None:
    """Draw observed over predicted values; on the diagonal they are equal."""
    _lines(axes, rows, "predicted", "observed", marker="o", markersize=3)
    values = [float(row[name]) for row in rows for name in ("predicted", "observed")]
    _diagonal(axes, min(0.0, *values), max(values))


def _errors(axes: Any, rows: Rows) -> None:
    _lines(axes, rows, "error", "share")
    axes.set(xlabel="observed less predicted", ylim=(0, None))


def _confusion(axes: Any, rows: Rows) -> None:
    """Draw the candidate's confusion matrix, coloured by the share of each true class."""
    own = [row for row in rows if row["model"] == "candidate"]
    classes = list(dict.fromkeys(row["true"] for row in own))
    counts = [[int(row["rows"]) for row in own if row["true"] == name] for name in classes]
    for y, line in enumerate(counts):
        for x, count in enumerate(line):
            share = count / max(1, sum(line))
            axes.add_patch(_square(x, y, CANDIDATE if x == y else BASELINE, share))
            if count and len(classes) <= MOST_CLASSES // 2:
                axes.text(x, y, count, ha="center", va="center", fontsize=7, color=INK)
    ends = (-0.5, len(classes) - 0.5)
    axes.set(xlabel="predicted class", ylabel="true class", xlim=ends, ylim=ends[::-1], aspect="equal")
    if len(classes) <= MOST_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)


def _square(x: float, y: float, colour: str, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, alpha=0.75 * share, linewidth=0)


def _history(axes: Any, rows: Rows) -> None:
    epochs = [int(row["epoch"]) for row in rows]
    for name, colour in (("train_loss", BASELINE), ("validation_loss", CANDIDATE)):
        losses = [float(row[name]) for row in rows]
        axes.plot(epochs, losses, color=colour, label=name.split("_")[0], marker="o", markersize=3)
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)


PLOTS: dict[str, list[tuple[str, Path, Callable[[Any, Rows], None]]]] = {
    "binary": [
        ("ROC", artifacts.PLOTS / "roc.csv", _roc),
        ("Precision and recall", artifacts.PLOTS / "precision_recall.csv", _precision_recall),
        ("Calibration", artifacts.PLOTS / "calibration.csv", _observed),
    ],
    "multiclass": [
        ("Confusion", artifacts.PLOTS / "confusion.csv", _confusion),
        ("Calibration", artifacts.PLOTS / "calibration.csv", _observed),
    ],
    "regression": [
        ("Observed by predicted", artifacts.PLOTS / "predicted.csv", _observed),
        ("Errors", artifacts.PLOTS / "errors.csv", _errors),
    ],
}


def _svg(figure: Any, title: str) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)  # noqa: S704  # drawn by matplotlib from numbers
