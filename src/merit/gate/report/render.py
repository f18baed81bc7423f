"""Renders the gate's report as Markdown for a pull request and as a self-contained HTML page with plots.

The Markdown is rendered from the report alone, without heavy imports, because the workflow that only posts a report
renders it too.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from merit import artifacts
from merit.gate.report import plots, schema, text_charts, wording
from merit.gate.report.data_sections import ColumnDrift
from merit.gate.report.escape import escape_code, escape_markdown, sanitize_code, sanitize_line
from merit.gate.report.schema import Report
from merit.gate.report.sections import BLOCKING_VERDICTS, MAX_TEXT_CHARS, Estimate, Slice
from merit.gate.report.truncation import truncate_report

MAX_MARKDOWN_CHARS = 64_000
"""Maximum characters of the Markdown: GitHub allows 65,536 in a comment, and posting adds some lines."""

MAX_LINES = {
    "not_applicable": 50,
    "slices": 150,
    "passed": 200,
    "curves": 1,
    "drift": 30,
    "columns": 40,
    "code": 200,
    "config": 60,
    "metrics": 40,
    "moved": 5,
    "failed": 60,
    "rules": 30,
    "locations": 30,
    "waivers": 30,
}
"""Maximum lines per part of the Markdown, the least important part first: parts are cut in this order."""
MIN_LINES = 8
"""Lines that every part keeps before any part is left out."""
MAX_LONG_TEXT_CHARS = 500
"""Maximum characters of a reason or an advice in the Markdown."""
PART_TITLES = {
    "not_applicable": "checks that were not applicable",
    "slices": "slices",
    "passed": "checks that passed",
    "curves": "curves",
    "drift": "columns' drift",
    "columns": "columns of the data",
    "code": "lines of code",
    "config": "keys of the configuration",
    "metrics": "metrics",
    "moved": "slices that moved",
    "failed": "checks that did not pass",
    "rules": "weakened rules",
    "locations": "locations",
    "waivers": "waivers",
}

_EMPTY_LINES = re.compile(r"\n{3,}")


def write_report(content: dict[str, Any]) -> dict[str, Any]:
    """Write the report as JSON, Markdown and HTML and return the JSON content as written.

    Raises:
        MeritError: the report does not match the schema.
    """
    truncated = truncate_report(content)
    texts = {artifacts.GATE_MARKDOWN: render_markdown(truncated), artifacts.GATE_HTML: render_html(truncated)}
    artifacts.write_json(artifacts.GATE_REPORT, truncated)
    for path, text in texts.items():
        artifacts.write_text(path, text)
    return truncated


def render_markdown(report: dict[str, Any]) -> str:
    """Render the report as GitHub Markdown that fits into a pull request comment, whatever the report contains.

    Raises:
        MeritError: the report does not match the schema.
    """
    parsed = schema.validate_report(report)
    template = _create_environment(_escape_value).get_template("gate.md.j2")
    charts = [Markup(chart) for chart in text_charts.render_charts(parsed.curves)]  # noqa: S704  # made of numbers
    view, max_lines = {**_build_view(parsed), "curves": charts}, dict(MAX_LINES)
    total_lines = _count_lines(parsed, len(charts))

    def render() -> str:
        left_out = [PART_TITLES[name] for name in MAX_LINES if total_lines[name] > max_lines[name]]
        return _remove_empty_lines(template.render(view, max_lines=max_lines, left_out=left_out))

    text = render()
    # First cut every part to a few lines; leave parts out only if that is not enough.
    for minimum, name in product((MIN_LINES, 0), MAX_LINES):
        while count_characters(text) > MAX_MARKDOWN_CHARS and min(max_lines[name], total_lines[name]) > minimum:
            max_lines[name] = max(minimum, min(max_lines[name], total_lines[name]) // 2)
            text = render()
    return text


def _count_lines(report: Report, charts: int) -> dict[str, int]:
    """Count the lines that each part of the Markdown would have without limits."""
    data, change = report.data, report.change
    tables: list[Any] = [(data.missing or [], data.categories or [])] if data else []
    if data and data.columns:
        tables.append((data.columns.added, data.columns.gone, data.columns.retyped))
    return {
        "slices": sum(each.metrics is not None for each in report.slices),
        "passed": sum(check.verdict == "pass" for check in report.checks),
        "curves": min(1, charts),
        "drift": len(data.drift or []) if data else 0,
        "columns": max((len(each) for table in tables for each in table), default=0),
        "code": len(wording.list_code_lines(report)),
        "config": len(change.config) if change else 0,
        "metrics": len(report.metrics.candidate) if report.metrics else 0,
        "moved": MAX_LINES["moved"],
        "failed": sum(check.verdict in BLOCKING_VERDICTS for check in report.checks),
        "not_applicable": len(wording.select_checks(report.checks, "not applicable")),
        "rules": len(wording.list_weakened_rules(report)),
        "locations": len(wording.list_changed_locations(report)),
        "waivers": len(report.waivers),
    }


def _remove_empty_lines(text: str) -> str:
    """Remove the repeated empty lines that empty parts of the template leave."""
    return _EMPTY_LINES.sub("\n\n", text).strip() + "\n"


def count_characters(text: str) -> int:
    """Return the length of a text in UTF-16 units, the highest count that GitHub may use: an emoji counts as two."""
    return len(text.encode("utf-16-le")) // 2


def render_html(report: dict[str, Any]) -> str:
    """Render the report as a self-contained HTML page.

    Raises:
        MeritError: the report does not match the schema, or the file of a plotted curve is missing.
    """
    parsed = schema.validate_report(report)
    drawings = [] if parsed.metrics is None else plots.draw_plots(parsed.task)
    helpers = {
        "strip": plots.draw_interval,
        "bar": plots.draw_bar,
        "scale_of": _compute_scale,
        "forest": _create_slice_drawer(parsed),
    }
    view = {**_build_view(parsed), **helpers, "plots": drawings}
    return _create_environment(sanitize_line).get_template("gate.html.j2").render(view)


@cache
def _create_environment(sanitize: Callable[[Any], str]) -> Environment:
    """Create a Jinja environment that sanitizes every value except `Markup`.

    Cached because compiling the templates takes longer than rendering them.

    Args:
        sanitize: `_escape_value` for Markdown, `sanitize_line` for HTML, which Jinja escapes itself.
    """
    environment = Environment(
        loader=PackageLoader("merit.gate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else sanitize(value),
    )
    environment.filters["interval"] = _format_interval
    show_code = _show_code_in_page if sanitize is sanitize_line else escape_code
    environment.filters["code_line"] = lambda line: Markup(show_code(line))  # noqa: S704  # escaped
    environment.filters["value"] = lambda found: _format_interval(found and Estimate(value=found.value))
    environment.filters["part"] = wording.format_split
    environment.filters["long"] = (
        _escape_long_text if sanitize is _escape_value else lambda text: sanitize_line(text, MAX_TEXT_CHARS)
    )
    environment.filters["code"] = _format_code
    environment.filters["rate"] = lambda rate, share: f"{rate:.2%}" if share else f"{rate:.4g}"
    environment.filters["strip"] = lambda found, scale: _wrap_code(text_charts.draw_interval(found, scale))
    environment.filters["spark"] = lambda share: _wrap_code(text_charts.draw_bar(share))
    return environment


def _escape_value(value: object) -> Markup:
    return Markup(escape_markdown(value))  # noqa: S704  # what `escape` is for


def _escape_long_text(value: object) -> Markup:
    return Markup(escape_markdown(value, MAX_LONG_TEXT_CHARS))  # noqa: S704  # what `escape` is for


def _format_code(value: object) -> Markup:
    return Markup(f"<code>{escape_markdown(value)}</code>")  # noqa: S704  # what `escape` is for


def _wrap_code(drawing: str) -> Markup:
    return Markup(f"<code>{drawing}</code>")  # noqa: S704  # made of our own characters


def _build_view(report: Report) -> dict[str, Any]:
    """Return the variables that both templates use."""
    titles = wording.SLICE_METRICS[report.task]
    measured_slices = [each for each in report.slices if each.metrics]
    metric = _find_compared_metric(report, titles)
    return {
        "report": report,
        "wording": wording,
        "summary": wording.summarize_verdict(report),
        "weakened": wording.list_weakened_rules(report),
        "dropped": wording.find_dropped_name(report),
        "code": wording.list_code_lines(report),
        "locations": wording.list_changed_locations(report),
        "open": wording.select_checks(report.checks, "fail") + wording.select_checks(report.checks, "inconclusive"),
        "waived": [check for check in report.checks if check.waived],
        "passed": wording.select_checks(report.checks, "pass"),
        "not_applicable": wording.select_checks(report.checks, "not applicable"),
        "metrics": _build_metric_rows(report),
        "slices": _group_by_column(measured_slices),
        "measured": measured_slices,
        "metric": metric,
        "moved": _sort_moved_slices(report, metric),
        "trends": Counter(_list_trends(report, metric)),
        "scale": _compute_scale(each.difference.get(metric) for each in measured_slices if each.difference and metric),
        "shown": {
            name: title for name, title in titles.items() if any(name in (e.metrics or {}) for e in measured_slices)
        },
        "positive": report.task == "binary",
        "small": sum(1 for each in report.slices if not each.metrics),
        "drift": _sort_drift(report),
        "unnamed": wording.describe_unnamed_slices(report),
    }


def _show_code_in_page(line: str) -> str:
    return html.escape(sanitize_code(line))


def _format_interval(estimate: Estimate | None, *, signed: bool = False) -> Markup:
    return Markup(wording.format_interval(estimate, signed=signed))  # noqa: S704  # made of numbers


def _build_metric_rows(report: Report) -> list[dict[str, Any]]:
    """Return one row per metric: the value of each model, the difference from the champion and its trend."""
    metrics = report.metrics
    if metrics is None:
        return []
    metric_rows = []
    for name, candidate in metrics.candidate.items():
        difference, better = (metrics.difference or {}).get(name), report.better.get(name)
        metric_rows.append(
            {
                "name": name,
                "candidate": candidate,
                "champion": (metrics.champion or {}).get(name),
                "baseline": (metrics.baseline or {}).get(name),
                "difference": difference,
                "better": better,
                "trend": wording.classify_trend(difference, better),
            }
        )
    return metric_rows


def _find_compared_metric(report: Report, preferred: Iterable[str]) -> str | None:
    """Return the metric by which slices are compared with the champion, or None if they are not compared."""
    names = {name: None for each in report.slices for name in each.difference or {}}
    return next((name for name in preferred if name in names), next(iter(names), None))


def _sort_moved_slices(report: Report, metric: str | None) -> tuple[list[Slice], list[Slice]]:
    """Return the slices that got worse, worst first, and the slices that got better, best first."""
    if metric is None:
        return [], []
    sign = -1 if report.better.get(metric) == "lower" else 1
    gains = [
        (sign * difference.value, each)
        for each in report.slices
        if (difference := (each.difference or {}).get(metric)) is not None and difference.value is not None
    ]
    gains.sort(key=lambda pair: pair[0])
    return [each for gain, each in gains if gain < 0], [each for gain, each in reversed(gains) if gain > 0]


def _group_by_column(slices: list[Slice]) -> dict[str, list[Slice]]:
    return {name: [each for each in slices if each.column == name] for name in dict.fromkeys(s.column for s in slices)}


def _create_slice_drawer(report: Report) -> Callable[[Slice], Markup]:
    """Return a function that draws a slice's metric relative to all test rows; used if there is no champion."""
    name = next(iter(wording.SLICE_METRICS[report.task]))
    overall = report.metrics.candidate.get(name) if report.metrics else None
    centre = (overall.value if overall else None) or 0.0
    bounds = [e for each in report.slices if (m := (each.metrics or {}).get(name)) for e in (m.low, m.high)]
    max_distance = max((abs(end - centre) for end in bounds if end is not None), default=0.0) or 1.0
    return lambda each: plots.draw_interval((each.metrics or {}).get(name), max_distance, centre=centre)


def _list_trends(report: Report, metric: str | None) -> list[str | None]:
    """Return the trend of each slice: better, worse or unclear."""
    better = report.better.get(metric or "")
    return [wording.classify_trend((each.difference or {}).get(metric or ""), better) for each in report.slices]


def _compute_scale(differences: Iterable[Estimate | None]) -> float:
    """Return the largest absolute bound of the intervals, or 1 if there are none."""
    bounds = [abs(end) for each in differences if each is not None for end in (each.low, each.high) if end is not None]
    return max(bounds, default=0.0) or 1.0


def _sort_drift(report: Report) -> list[ColumnDrift]:
    """Return the drift of all columns, the largest share of its limit first."""
    drift = report.data.drift if report.data else None
    return sorted(drift or [], key=lambda each: -each.share_of_limit)
