"""Renders the gate's report as Markdown for a pull request and as a self-contained HTML page with plots.

The Markdown is rendered from the report alone, without heavy imports, because the workflow that only posts a report
renders it too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from merit import artifacts
from merit.gate.report import labels, plots, schema, text_charts
from merit.gate.report.escape import escape, plain
from merit.gate.report.schema import Report
from merit.gate.report.sections import MOST_TEXT, Drift, Estimate, Slice
from merit.gate.report.truncation import fit

LIMIT = 64_000
"""Maximum characters of the Markdown: GitHub allows 65,536 in a comment, and posting adds some lines."""

MOST = {
    "slices": 150,
    "passed": 200,
    "curves": 1,
    "drift": 30,
    "columns": 40,
    "config": 60,
    "metrics": 40,
    "moved": 5,
    "failed": 60,
    "rules": 30,
    "locations": 30,
    "waivers": 30,
}
"""Maximum lines per part of the Markdown, the least important part first: parts are cut in this order."""
FEWEST = 8
"""Lines that every part keeps before any part is left out."""
LONG = 500
"""Maximum characters of a reason or an advice in the Markdown."""
TITLES = {
    "slices": "slices",
    "passed": "checks that passed",
    "curves": "curves",
    "drift": "columns' drift",
    "columns": "columns of the data",
    "config": "keys of the configuration",
    "metrics": "metrics",
    "moved": "slices that moved",
    "failed": "checks that did not pass",
    "rules": "weakened rules",
    "locations": "locations",
    "waivers": "waivers",
}

_EMPTY_LINES = re.compile(r"\n{3,}")


def write(found: dict[str, Any]) -> dict[str, Any]:
    """Write the report as JSON, Markdown and HTML and return the JSON content as written.

    Raises:
        MeritError: the report does not match the schema.
    """
    made = fit(found)
    texts = {artifacts.GATE_MARKDOWN: markdown(made), artifacts.GATE_HTML: html(made)}
    artifacts.write_json(artifacts.GATE_REPORT, made)
    for path, text in texts.items():
        artifacts.write_text(path, text)
    return made


def markdown(report: dict[str, Any]) -> str:
    """Render the report as GitHub Markdown that fits into a pull request comment, whatever the report contains.

    Raises:
        MeritError: the report does not match the schema.
    """
    made = schema.of(report)
    template = _environment(_escaped).get_template("gate.md.j2")
    charts = [Markup(chart) for chart in text_charts.charts(made.curves)]  # noqa: S704  # made of numbers
    view, most = {**_view(made), "curves": charts}, dict(MOST)
    total = _lines(made, len(charts))

    def rendered() -> str:
        left_out = [TITLES[name] for name in MOST if total[name] > most[name]]
        return _tidy(template.render(view, most=most, left_out=left_out))

    text = rendered()
    # First cut every part to a few lines; leave parts out only if that is not enough.
    for fewest, name in product((FEWEST, 0), MOST):
        while length(text) > LIMIT and min(most[name], total[name]) > fewest:
            most[name] = max(fewest, min(most[name], total[name]) // 2)
            text = rendered()
    return text


def _lines(report: Report, charts: int) -> dict[str, int]:
    """Count the lines that each part of the Markdown would have without limits."""
    data, change = report.data, report.change
    listed: list[Any] = [(data.missing or [], data.categories or [])] if data else []
    if data and data.columns:
        listed.append((data.columns.added, data.columns.gone, data.columns.retyped))
    return {
        "slices": sum(each.metrics is not None for each in report.slices),
        "passed": sum(check.verdict == "pass" for check in report.checks),
        "curves": min(1, charts),
        "drift": len(data.drift or []) if data else 0,
        "columns": max((len(each) for lists in listed for each in lists), default=0),
        "config": len(change.config) if change else 0,
        "metrics": len(report.metrics.candidate) if report.metrics else 0,
        "moved": MOST["moved"],
        "failed": sum(check.verdict != "pass" for check in report.checks),
        "rules": len(labels.weakened(report)),
        "locations": len(labels.locations(report)),
        "waivers": len(report.waivers),
    }


def _tidy(text: str) -> str:
    """Remove the repeated empty lines that empty parts of the template leave."""
    return _EMPTY_LINES.sub("\n\n", text).strip() + "\n"


def length(text: str) -> int:
    """Return the length of a text in UTF-16 units, the highest count that GitHub may use: an emoji counts as two."""
    return len(text.encode("utf-16-le")) // 2


def html(report: dict[str, Any]) -> str:
    """Render the report as a self-contained HTML page.

    Raises:
        MeritError: the report does not match the schema, or the file of a plotted curve is missing.
    """
    made = schema.of(report)
    drawn = [] if made.metrics is None else plots.draw(made.task)
    drawing = {"strip": plots.strip, "bar": plots.bar, "scale_of": _scale, "forest": _forest(made)}
    view = {**_view(made), **drawing, "plots": drawn}
    return _environment(plain).get_template("gate.html.j2").render(view)


@cache
def _environment(clean: Callable[[Any], str]) -> Environment:
    """Create a Jinja environment that sanitizes every value except `Markup`.

    Cached because compiling the templates takes longer than rendering them.

    Args:
        clean: sanitizes one value: `_escaped` for Markdown, `plain` for HTML, which Jinja escapes itself.
    """
    made = Environment(
        loader=PackageLoader("merit.gate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    made.filters["interval"] = _interval
    made.filters["value"] = lambda found: _interval(found and Estimate(value=found.value))
    made.filters["part"] = labels.part
    made.filters["long"] = _long if clean is _escaped else lambda text: plain(text, MOST_TEXT)
    made.filters["code"] = _code
    made.filters["rate"] = lambda rate, share: f"{rate:.2%}" if share else f"{rate:.4g}"
    made.filters["strip"] = lambda found, scale: _code_of(text_charts.strip(found, scale))
    made.filters["spark"] = lambda share: _code_of(text_charts.bar(share))
    return made


def _escaped(value: object) -> Markup:
    return Markup(escape(value))  # noqa: S704  # what `escape` is for


def _long(value: object) -> Markup:
    return Markup(escape(value, LONG))  # noqa: S704  # what `escape` is for


def _code(value: object) -> Markup:
    return Markup(f"<code>{escape(value)}</code>")  # noqa: S704  # what `escape` is for


def _code_of(drawing: str) -> Markup:
    return Markup(f"<code>{drawing}</code>")  # noqa: S704  # made of our own characters


def _view(report: Report) -> dict[str, Any]:
    """Return the variables that both templates use."""
    shown = labels.SHOWN[report.task]
    measured = [each for each in report.slices if each.metrics]
    metric = _compared(report, shown)
    return {
        "report": report,
        "words": labels,
        "summary": labels.summary(report),
        "weakened": labels.weakened(report),
        "locations": labels.locations(report),
        "open": labels.of(report.checks, "fail") + labels.of(report.checks, "inconclusive"),
        "waived": [check for check in report.checks if check.waived],
        "passed": [check for check in report.checks if check.verdict == "pass" and not check.waived],
        "metrics": _metrics(report),
        "slices": _by_column(measured),
        "measured": measured,
        "metric": metric,
        "moved": _moved(report, metric),
        "trends": Counter(_trends(report, metric)),
        "scale": _scale(each.difference.get(metric) for each in measured if each.difference and metric),
        "shown": {name: title for name, title in shown.items() if any(name in (e.metrics or {}) for e in measured)},
        "positive": report.task == "binary",
        "small": sum(1 for each in report.slices if not each.metrics),
        "drift": _drift(report),
    }


def _interval(found: Estimate | None, *, signed: bool = False) -> Markup:
    return Markup(labels.interval(found, signed=signed))  # noqa: S704  # made of numbers


def _metrics(report: Report) -> list[dict[str, Any]]:
    """Return one row per metric: the value of each model, the difference from the champion and its trend."""
    found = report.metrics
    if found is None:
        return []
    lines = []
    for name, ours in found.candidate.items():
        difference, better = (found.difference or {}).get(name), report.better.get(name)
        lines.append(
            {
                "name": name,
                "candidate": ours,
                "champion": (found.champion or {}).get(name),
                "baseline": (found.baseline or {}).get(name),
                "difference": difference,
                "better": better,
                "trend": labels.trend(difference, better),
            }
        )
    return lines


def _compared(report: Report, shown: Iterable[str]) -> str | None:
    """Return the metric by which slices are compared with the champion, or None if they are not compared."""
    names = {name: None for each in report.slices for name in each.difference or {}}
    return next((name for name in shown if name in names), next(iter(names), None))


def _moved(report: Report, metric: str | None) -> tuple[list[Slice], list[Slice]]:
    """Return the slices that got worse, worst first, and the slices that got better, best first."""
    if metric is None:
        return [], []
    sign = -1 if report.better.get(metric) == "lower" else 1
    gains = [
        (sign * found.value, each)
        for each in report.slices
        if (found := (each.difference or {}).get(metric)) is not None and found.value is not None
    ]
    gains.sort(key=lambda pair: pair[0])
    return [each for gain, each in gains if gain < 0], [each for gain, each in reversed(gains) if gain > 0]


def _by_column(slices: list[Slice]) -> dict[str, list[Slice]]:
    return {name: [each for each in slices if each.column == name] for name in dict.fromkeys(s.column for s in slices)}


def _forest(report: Report) -> Callable[[Slice], Markup]:
    """Return a function that draws a slice's metric relative to all test rows; used if there is no champion."""
    name = next(iter(labels.SHOWN[report.task]))
    overall = report.metrics.candidate.get(name) if report.metrics else None
    centre = (overall.value if overall else None) or 0.0
    ends = [e for each in report.slices if (m := (each.metrics or {}).get(name)) for e in (m.low, m.high)]
    reach = max((abs(end - centre) for end in ends if end is not None), default=0.0) or 1.0
    return lambda each: plots.strip((each.metrics or {}).get(name), reach, centre=centre)


def _trends(report: Report, metric: str | None) -> list[str | None]:
    """Return the trend of each slice: better, worse or unclear."""
    better = report.better.get(metric or "")
    return [labels.trend((each.difference or {}).get(metric or ""), better) for each in report.slices]


def _scale(differences: Iterable[Estimate | None]) -> float:
    """Return the largest absolute bound of the intervals, or 1 if there are none."""
    ends = [abs(end) for each in differences if each is not None for end in (each.low, each.high) if end is not None]
    return max(ends, default=0.0) or 1.0


def _drift(report: Report) -> list[Drift]:
    """Return the drift of all columns, the largest share of its limit first."""
    found = report.data.drift if report.data else None
    return sorted(found or [], key=lambda each: -each.share)
