"""The report: the gate's findings as Markdown for a pull request, and as one HTML page with plots."""

import csv
import io
from html import escape as html_escape
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from merit import artifacts
from merit.gate.words import SUMMARY, interval
from merit.metrics import HIGHER_IS_BETTER

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
MOST_SLICES = 200
"""Lines of slices in the Markdown, all columns together: a comment on GitHub holds 65,536 characters."""
# Colours of the plots; the page's style sheet gives each its light and its dark value.
INK, CANDIDATE, BASELINE = "#010203", "#010204", "#010205"
VARIABLES = {INK: "var(--ink)", CANDIDATE: "var(--candidate)", BASELINE: "var(--baseline)"}


def markdown(report: dict[str, Any]) -> str:
    """Return the report as GitHub's Markdown, fit for a comment on a pull request."""
    return _environment(escaped=False).get_template("gate.md.j2").render(_view(report))


def html(report: dict[str, Any]) -> str:
    """Return the report as a page that needs nothing from anywhere else."""
    view = {**_view(report), "plots": _plots()}
    return _environment(escaped=True).get_template("gate.html.j2").render(view)


def _environment(*, escaped: bool) -> Environment:
    made = Environment(
        loader=PackageLoader("merit.gate"),
        autoescape=escaped,  # noqa: S701  # Markdown has its own way to escape: the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["interval"] = interval
    made.filters["cell"] = _cell
    return made


def _cell(text: object) -> str:
    """Return a text that stays inside its cell of a Markdown table, whatever it holds."""
    return html_escape(str(text), quote=False).replace("|", "\\|").replace("\n", " ")


def _view(report: dict[str, Any]) -> dict[str, Any]:
    measured = [s for s in report["slices"] if s["metrics"]]
    return {
        "report": report,
        "marks": MARKS,
        "summary": SUMMARY[report["verdict"]],
        "better": {name: "higher" if up else "lower" for name, up in HIGHER_IS_BETTER.items()},
        "slices": {column: list(group) for column, group in groupby(measured, key=lambda s: s["column"])},
        "most": MOST_SLICES // max(1, len({s["column"] for s in measured})),
        "small": sum(1 for s in report["slices"] if not s["metrics"]),
    }


def _plots() -> list[tuple[str, Markup]]:
    """Draw the curves as SVG that takes its colours from the page."""
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
        for title, file, x, y in CURVES:
            figure = Figure(figsize=(3.6, 3.0), layout="constrained")
            _draw(figure, _rows(file), x, y)
            drawings.append((title, _svg(figure, title)))
        figure = Figure(figsize=(3.6, 3.0), layout="constrained")
        _draw_history(figure, _rows(artifacts.HISTORY))
        drawings.append(("Loss by epoch", _svg(figure, "Loss by epoch")))
    return drawings


CURVES = [
    ("ROC", artifacts.PLOTS / "roc.csv", "false_positive_rate", "true_positive_rate"),
    ("Precision and recall", artifacts.PLOTS / "precision_recall.csv", "recall", "precision"),
    ("Calibration", artifacts.PLOTS / "calibration.csv", "predicted", "observed"),
]


def _rows(path: Any) -> list[dict[str, str]]:
    with artifacts.require(path, "evaluate").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _draw(figure: Any, rows: list[dict[str, str]], x: str, y: str) -> None:
    axes = figure.subplots()
    marker = "o" if x == "predicted" else ""
    for model, label, colour in (("baseline", "gradient boosting", BASELINE), ("candidate", "candidate", CANDIDATE)):
        points = [(float(row[x]), float(row[y])) for row in rows if row["model"] == model]
        axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=3)
    if x != "recall":
        top = 1.0 if x != "predicted" else max(max(float(r[x]), float(r[y])) for r in rows)
        axes.plot([0, top], [0, top], color=INK, linewidth=0.6, linestyle=":")
    axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "), xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)


def _draw_history(figure: Any, rows: list[dict[str, str]]) -> None:
    axes = figure.subplots()
    epochs = [int(row["epoch"]) for row in rows]
    for name, colour in (("train_log_loss", BASELINE), ("validation_log_loss", CANDIDATE)):
        axes.plot(
            epochs,
            [float(row[name]) for row in rows],
            color=colour,
            label=name.split("_")[0],
            marker="o",
            markersize=3,
        )
    axes.set(xlabel="epoch", ylabel="log loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)


def _svg(figure: Any, title: str) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)  # noqa: S704  # drawn by matplotlib from numbers
