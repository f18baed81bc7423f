"""Draws the report's plots as SVG in the colours of the page, and reads the curves behind them."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from merit import artifacts
from merit.gate.report.sections import Estimate

# Placeholder colours for matplotlib: _render_svg replaces each by a CSS variable, so plots follow light and dark mode.
INK, CANDIDATE, BASELINE = "#010203", "#010204", "#010205"
CSS_VARIABLES = {INK: "var(--ink)", CANDIDATE: "var(--candidate)", BASELINE: "var(--baseline)"}
MODELS = (("baseline", "gradient boosting", BASELINE), ("candidate", "candidate", CANDIDATE))
MAX_NAMED_CLASSES = 30
"""Maximum number of classes for which a confusion matrix shows the names."""

MAX_POINTS = 100
"""Maximum number of points per curve in the report."""
WIDTH, HEIGHT = 200.0, 16.0
"""Size of a drawing in a table cell, in SVG user units."""

CsvRows = list[dict[str, str]]


def read_curves(task: str) -> dict[str, list[dict[str, float]]]:
    """Return the curves that are stored in gate.json, so that a comment can be drawn from the report alone."""
    file = artifacts.PLOTS / ("predicted.csv" if task == "regression" else "calibration.csv")
    bins = [row for row in _read_rows(file) if row["model"] == "candidate"]
    epochs = _read_rows(artifacts.HISTORY)
    return {
        "calibration": [{name: float(row[name]) for name in ("predicted", "observed")} for row in bins[:MAX_POINTS]],
        "loss": [{name: float(row[f"{name}_loss"]) for name in ("train", "validation")} for row in epochs[:MAX_POINTS]],
    }


def draw_interval(estimate: Estimate | None, scale: float, css_class: str = "", centre: float = 0.0) -> Markup:
    """Draw an interval relative to a centre line, such as no difference.

    Args:
        estimate: the value and its interval.
        scale: the distance from the centre to either end of the drawing.
        css_class: a CSS class of the page.
        centre: the value at the centre line.
    """
    if estimate is None or not estimate.has_interval:
        return Markup("")
    low, value, high = (
        _scale_position((number or 0.0) - centre, scale) for number in (estimate.low, estimate.value, estimate.high)
    )
    middle = HEIGHT / 2
    return Markup(  # noqa: S704  # numbers, and a class that the template names
        f'<svg class="strip {css_class}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">'
        f'<line class="zero" x1="{WIDTH / 2:g}" x2="{WIDTH / 2:g}" y1="0" y2="{HEIGHT:g}"/>'
        f'<line class="reach" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>'
        f'<circle cx="{value:.1f}" cy="{middle:g}" r="4"/></svg>'
    )


def _scale_position(number: float, scale: float) -> float:
    clamped = max(-1.0, min(1.0, number / scale))
    return WIDTH / 2 * (1 + 0.95 * clamped)


def draw_bar(share: float, css_class: str = "") -> Markup:
    """Draw a share of a limit as a bar; the line in the middle marks the limit."""
    filled = WIDTH * min(1.0, share / 2)
    return Markup(  # noqa: S704  # numbers, and a class that the template names
        f'<svg class="strip {css_class}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">'
        f'<rect class="ground" width="{WIDTH:g}" height="8" y="4"/>'
        f'<rect class="filled" width="{filled:.1f}" height="8" y="4"/>'
        f'<line class="zero" x1="{WIDTH / 2:g}" x2="{WIDTH / 2:g}" y1="0" y2="{HEIGHT:g}"/></svg>'
    )


def draw_plots(task: str) -> list[tuple[str, Markup]]:
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
        for title, file, plot in [*PLOTS[task], ("Loss by epoch", artifacts.HISTORY, _draw_history)]:
            figure = Figure(figsize=(3.6, 3.0), layout="constrained")
            plot(figure.subplots(), _read_rows(file))
            drawings.append((title, _render_svg(figure, title)))
    return drawings


def _read_rows(path: Path) -> CsvRows:
    with artifacts.require_path(path, "evaluate").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _draw_lines(axes: Any, rows: CsvRows, x: str, y: str, **style: Any) -> None:
    for model, label, colour in MODELS:
        points = [(float(row[x]), float(row[y])) for row in rows if row["model"] == model]
        axes.plot(*zip(*points, strict=True), color=colour, label=label, **style)
    axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    axes.legend(frameon=False)


def _draw_diagonal(axes: Any, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=INK, linewidth=0.6, linestyle=":")


def _draw_roc(axes: Any, rows: CsvRows) -> None:
    _draw_lines(axes, rows, "false_positive_rate", "true_positive_rate")
    _draw_diagonal(axes, 0, 1)
    axes.set(xlim=(0, None), ylim=(0, None))


def _draw_precision_recall(axes: Any, rows: CsvRows) -> None:
    _draw_lines(axes, rows, "recall", "precision")
    axes.set(xlim=(0, None), ylim=(0, None))


def _draw_observed(axes: Any, rows: CsvRows) -> None:
    """Draw observed over predicted values; on the diagonal they are equal."""
    _draw_lines(axes, rows, "predicted", "observed", marker="o", markersize=3)
    values = [float(row[name]) for row in rows for name in ("predicted", "observed")]
    _draw_diagonal(axes, min(0.0, *values), max(values))


def _draw_errors(axes: Any, rows: CsvRows) -> None:
    _draw_lines(axes, rows, "error", "share")
    axes.set(xlabel="observed less predicted", ylim=(0, None))


def _draw_confusion(axes: Any, rows: CsvRows) -> None:
    """Draw the candidate's confusion matrix, coloured by the share of each true class."""
    candidate_rows = [row for row in rows if row["model"] == "candidate"]
    classes = list(dict.fromkeys(row["true"] for row in candidate_rows))
    counts = [[int(row["rows"]) for row in candidate_rows if row["true"] == name] for name in classes]
    for y, class_counts in enumerate(counts):
        for x, count in enumerate(class_counts):
            share = count / max(1, sum(class_counts))
            axes.add_patch(_create_square(x, y, CANDIDATE if x == y else BASELINE, share))
            if count and len(classes) <= MAX_NAMED_CLASSES // 2:
                axes.text(x, y, count, ha="center", va="center", fontsize=7, color=INK)
    ends = (-0.5, len(classes) - 0.5)
    axes.set(xlabel="predicted class", ylabel="true class", xlim=ends, ylim=ends[::-1], aspect="equal")
    if len(classes) <= MAX_NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)


def _create_square(x: float, y: float, colour: str, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, alpha=0.75 * share, linewidth=0)


def _draw_history(axes: Any, rows: CsvRows) -> None:
    epochs = [int(row["epoch"]) for row in rows]
    for name, colour in (("train_loss", BASELINE), ("validation_loss", CANDIDATE)):
        losses = [float(row[name]) for row in rows]
        axes.plot(epochs, losses, color=colour, label=name.split("_")[0], marker="o", markersize=3)
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)


PLOTS: dict[str, list[tuple[str, Path, Callable[[Any, CsvRows], None]]]] = {
    "binary": [
        ("ROC", artifacts.PLOTS / "roc.csv", _draw_roc),
        ("Precision and recall", artifacts.PLOTS / "precision_recall.csv", _draw_precision_recall),
        ("Calibration", artifacts.PLOTS / "calibration.csv", _draw_observed),
    ],
    "multiclass": [
        ("Confusion", artifacts.PLOTS / "confusion.csv", _draw_confusion),
        ("Calibration", artifacts.PLOTS / "calibration.csv", _draw_observed),
    ],
    "regression": [
        ("Observed by predicted", artifacts.PLOTS / "predicted.csv", _draw_observed),
        ("Errors", artifacts.PLOTS / "errors.csv", _draw_errors),
    ],
}


def _render_svg(figure: Any, title: str) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    for colour, variable in CSS_VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)  # noqa: S704  # drawn by matplotlib from numbers
