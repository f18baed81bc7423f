"""Prints the gate's report as tables on a terminal."""

import os
import sys
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from merit import artifacts
from merit.console.tables import DEFAULT_WIDTH, fit_table
from merit.gate.report import schema, wording
from merit.gate.report.escape import sanitize_line
from merit.gate.report.schema import Report
from merit.gate.report.sections import BLOCKING_VERDICTS, MAX_TEXT_CHARS, Check, SplitRows

VERDICT_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not applicable": "dim"}
TREND_STYLES = {wording.BETTER: "green", wording.WORSE: "red", wording.UNCLEAR: "dim"}

TREND_WIDTH = 10
"""Characters per line of the trend column: wrapping it keeps the intervals unbroken in 120 characters."""
MAX_LISTED_CHANGES = 5
MAX_LISTED_CHECKS = 3
MIN_GROUPED_CHECKS = 3
"""Passed checks of one family from which they are summed up in one row."""


class _Console(Console):
    """A console that ignores a closed pipe: a reader that stops early must not change the exit code."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_report(content: dict[str, Any]) -> None:
    """Print the report.

    Args:
        content: the content of reports/gate.json.
    """
    console = _Console(highlight=False, width=None if Console().is_terminal else DEFAULT_WIDTH)
    report = schema.validate_report(content)
    console.print()
    console.print(_render_heading(report), soft_wrap=True)
    if report.metrics is not None:
        console.print(fit_table(_build_metrics_table(report), console.width))
    console.print(fit_table(_build_checks_table(report), console.width))
    for line in _list_warnings(report):
        console.print(line, soft_wrap=True)
    console.print(
        f"verdict: [bold {VERDICT_STYLES[report.verdict]}]{report.verdict}[/]: {wording.summarize_verdict(report)}"
    )
    console.print(f"report:  {artifacts.GATE_HTML} (for people), {artifacts.GATE_MARKDOWN} (for a pull request)")


def _render_heading(report: Report) -> str:
    network = report.candidate.network if report.candidate and report.scope != "data" else None
    name = f"[bold]{report.model}[/]" + (f": {_sanitize_text(network.rpartition('.')[2])}" if network else "")
    if report.parts is None:
        return f"{name}: its data" if report.scope == "data" else name
    splits = report.parts
    return (
        f"{name} trained on {_format_split(splits.train)}, chosen on {_format_split(splits.validation)}, judged on "
        f"{_format_split(splits.test)}"
    )


def _format_split(split: SplitRows) -> str:
    return f"{split.rows:,} rows" + (f" to {_sanitize_text(split.to[:10])}" if split.to else "")


def _build_metrics_table(report: Report) -> Table:
    """Build the metrics table: candidate, difference from the champion if there is one, and baseline."""
    assert report.metrics is not None
    title, difference, baseline = "test rows", report.metrics.difference, report.metrics.baseline or {}
    difference_columns = ("difference from the champion", Column(max_width=TREND_WIDTH)) if difference else ()
    table = Table("metric", "candidate", *difference_columns, "gradient boosting", title=title, title_justify="left")
    for name, estimate in report.metrics.candidate.items():
        cells = [_sanitize_text(name), _sanitize_text(wording.format_interval(estimate))]
        if difference:
            trend = wording.classify_trend(difference.get(name), report.better.get(name))
            cells.append(_sanitize_text(wording.format_interval(difference.get(name), signed=True)))
            cells.append(f"[{TREND_STYLES[trend]}]{trend}[/]" if trend else "")
        table.add_row(*cells, _sanitize_text(wording.format_interval(baseline.get(name))))
    return table


def _build_checks_table(report: Report) -> Table:
    table = Table("check", "verdict", "found", "allowed", title="gate", title_justify="left")
    for (family, _), checks in groupby(report.checks, lambda check: (_find_family(check), check.verdict)):
        group = list(checks)
        if family is not None and len(group) >= MIN_GROUPED_CHECKS:
            names = "; ".join(check.name.removeprefix(f"{family}: ") for check in group)
            table.add_row(
                f"{_sanitize_text(family)}: {len(group)} checks", _format_verdict(group[0]), _sanitize_text(names), ""
            )
            continue
        for check in group:
            table.add_row(
                _sanitize_text(check.name),
                _format_verdict(check),
                _sanitize_text(check.found),
                _sanitize_text(check.allowed),
            )
            if check.advice:
                table.add_row("", "", f"[dim]{_sanitize_text(check.advice)}[/]", "")
    return table


def _find_family(check: Check) -> str | None:
    """Return the part of a check's name before the colon, by which rows are merged; None if it stands in the way."""
    family, colon, _ = check.name.partition(": ")
    return family if colon and check.verdict not in BLOCKING_VERDICTS else None


def _format_verdict(check: Check) -> str:
    return f"[{VERDICT_STYLES[check.verdict]}]{check.verdict}[/]" + (" (waived)" if check.waived else "")


def suggest_next_step(content: dict[str, Any]) -> str:
    """Return the next step for a report that did not pass, such as how many more test rows would decide it."""
    report = schema.validate_report(content)
    undecided = wording.select_checks(report.checks, "inconclusive")
    if report.verdict != "inconclusive" or not undecided:
        return "change conf/ and 'merit run' again"
    by_rows = [f"{sanitize_line(c.name, MAX_TEXT_CHARS)} (about {c.rows_needed:,})" for c in undecided if c.rows_needed]
    others = [sanitize_line(c.name, MAX_TEXT_CHARS) for c in undecided if not c.rows_needed]
    suggestions = (
        [f"more test rows would decide {_join_first(by_rows)}: more data, or a larger test part"] if by_rows else []
    )
    suggestions += [f"the table says what to do about {_join_first(others)}"] if others else []
    return f"{'; '.join(suggestions)}; then 'merit run' again"


def _join_first(names: list[str]) -> str:
    """Return the first names and the number of the others."""
    more = f" and {len(names) - MAX_LISTED_CHECKS} more" if len(names) > MAX_LISTED_CHECKS else ""
    return ", ".join(names[:MAX_LISTED_CHECKS]) + more


def _list_warnings(report: Report) -> list[str]:
    rule_lines = [
        f"[bold yellow]weaker:[/]  {_sanitize_text(rule.key)}: {_sanitize_text(wording.format_before(rule))} → "
        f"{_sanitize_text(wording.format_after(rule))}"
        for rule in wording.list_weakened_rules(report)[:MAX_LISTED_CHANGES]
    ]
    if (hidden_count := len(wording.list_weakened_rules(report)) - MAX_LISTED_CHANGES) > 0:
        rule_lines.append(f"[bold yellow]weaker:[/]  and {hidden_count} more, all in {artifacts.GATE_HTML}")
    if (dropped_name := wording.find_dropped_name(report)) is not None:
        rule_lines = [
            f"[bold red]renamed:[/] this is no longer {_sanitize_text(dropped_name)}: it has no champion, and no rule "
            f"is compared; {artifacts.GATE_HTML} lists the rules that differ"
        ]
    location_changes = wording.list_changed_locations(report)
    location_lines = [
        f"[bold yellow]location:[/] {_sanitize_text(each.key)}: {_sanitize_text(wording.format_before(each))} → "
        f"{_sanitize_text(wording.format_after(each))}"
        for each in location_changes[:MAX_LISTED_CHANGES]
    ]
    if len(location_changes) > MAX_LISTED_CHANGES:
        location_lines.append(
            f"[bold yellow]location:[/] and {len(location_changes) - MAX_LISTED_CHANGES} more, all in "
            f"{artifacts.GATE_HTML}"
        )
    waiver_lines = [
        f"[bold yellow]waiver:[/]  {_sanitize_text(each.check)} until {_sanitize_text(each.until)}"
        f"{' (expired)' if each.expired else ''}: {_sanitize_text(each.reason)}"
        for each in report.waivers
    ]
    return rule_lines + location_lines + waiver_lines


def _sanitize_text(text: str) -> str:
    return escape(sanitize_line(text, MAX_TEXT_CHARS))
