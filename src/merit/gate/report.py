"""The report: the gate's findings as Markdown for a pull request, and as one HTML page with plots."""

from html import escape as html_escape
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from merit.gate import plots
from merit.gate.words import SUMMARY, interval, part

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
MOST_SLICES = 200
"""Lines of slices in the Markdown, all columns together: a comment on GitHub holds 65,536 characters."""
SHOWN = {
    "binary": {"roc_auc": "ROC AUC", "log_loss": "log loss"},
    "multiclass": {"accuracy": "accuracy", "log_loss": "log loss"},
    "regression": {"mae": "MAE", "rmse": "RMSE"},
}
"""The metrics that tables of slices have room for, and their titles."""


def markdown(report: dict[str, Any]) -> str:
    """Return the report as GitHub's Markdown, fit for a comment on a pull request."""
    return _environment(escaped=False).get_template("gate.md.j2").render(_view(report))


def html(report: dict[str, Any]) -> str:
    """Return the report as a page that needs nothing from anywhere else."""
    view = {**_view(report), "plots": plots.draw(report["task"]) if report["metrics"] else []}
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
    made.filters["part"] = part
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
        "slices": {column: list(group) for column, group in groupby(measured, key=lambda s: s["column"])},
        "most": MOST_SLICES // max(1, len({s["column"] for s in measured})),
        "shown": SHOWN[report["task"]],
        "positive": report["task"] == "binary",
        "small": sum(1 for s in report["slices"] if not s["metrics"]),
    }
