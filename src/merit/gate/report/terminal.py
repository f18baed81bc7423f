"""Prints the gate's report as tables on a terminal."""

import os
import sys
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from merit import artifacts
from merit.console.tables import WIDTH, fit
from merit.gate.report import labels, schema
from merit.gate.report.escape import plain
from merit.gate.report.schema import Report
from merit.gate.report.sections import MOST_TEXT, Check, Rows

STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
TRENDS = {labels.BETTER: "green", labels.WORSE: "red", labels.UNCLEAR: "dim"}

TREND_WIDTH = 10
"""Characters per line of the trend column: wrapping it keeps the intervals unbroken in 120 characters."""
MOST_WEAKER = 5
MOST_UNDECIDED = 3
MANY = 3
"""Passed checks of one family from which they are summed up in one row."""


class _Console(Console):
    """A console that ignores a closed pipe: a reader that stops early must not change the exit code."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(found: dict[str, Any]) -> None:
    """Print the report.

    Args:
        found: the content of reports/gate.json.
    """
    console = _Console(highlight=False, width=None if Console().is_terminal else WIDTH)
    made = schema.of(found)
    console.print()
    console.print(_heading(made), soft_wrap=True)
    if made.metrics is not None:
        console.print(fit(_metrics(made), console.width))
    console.print(fit(_checks(made), console.width))
    for line in _warnings(made):
        console.print(line, soft_wrap=True)
    console.print(f"verdict: [bold {STYLES[made.verdict]}]{made.verdict}[/]: {labels.summary(made)}")
    console.print(f"report:  {artifacts.GATE_HTML} (for people), {artifacts.GATE_MARKDOWN} (for a pull request)")


def _heading(made: Report) -> str:
    network = made.candidate.network if made.candidate and made.scope != "data" else None
    name = f"[bold]{made.model}[/]" + (f": {_plain(network.rpartition('.')[2])}" if network else "")
    if made.parts is None:
        return f"{name}: its data" if made.scope == "data" else name
    parts = made.parts
    return f"{name} trained on {_part(parts.train)}, chosen on {_part(parts.validation)}, judged on {_part(parts.test)}"


def _part(part: Rows) -> str:
    return f"{part.rows:,} rows" + (f" to {_plain(part.to[:10])}" if part.to else "")


def _metrics(made: Report) -> Table:
    """Build the metrics table: candidate, difference from the champion if there is one, and baseline."""
    assert made.metrics is not None
    title, difference, baseline = "test rows", made.metrics.difference, made.metrics.baseline or {}
    rival = ("difference from the champion", Column(max_width=TREND_WIDTH)) if difference else ()
    table = Table("metric", "candidate", *rival, "gradient boosting", title=title, title_justify="left")
    for name, found in made.metrics.candidate.items():
        cells = [_plain(name), _plain(labels.interval(found))]
        if difference:
            trend = labels.trend(difference.get(name), made.better.get(name))
            cells.append(_plain(labels.interval(difference.get(name), signed=True)))
            cells.append(f"[{TRENDS[trend]}]{trend}[/]" if trend else "")
        table.add_row(*cells, _plain(labels.interval(baseline.get(name))))
    return table


def _checks(made: Report) -> Table:
    table = Table("check", "verdict", "found", "allowed", title="gate", title_justify="left")
    for family, checks in groupby(made.checks, _family):
        found = list(checks)
        if family is not None and len(found) >= MANY:
            names = "; ".join(check.name.removeprefix(f"{family}: ") for check in found)
            table.add_row(f"{_plain(family)}: {len(found)} checks", _verdict(found[0]), _plain(names), "")
            continue
        for check in found:
            table.add_row(_plain(check.name), _verdict(check), _plain(check.found), _plain(check.allowed))
            if check.advice:
                table.add_row("", "", f"[dim]{_plain(check.advice)}[/]", "")
    return table


def _family(check: Check) -> str | None:
    """Return the part of a passed check's name before the colon, by which rows are merged; None for other checks."""
    family, colon, _ = check.name.partition(": ")
    return family if colon and check.verdict == "pass" else None


def _verdict(check: Check) -> str:
    return f"[{STYLES[check.verdict]}]{check.verdict}[/]" + (" (waived)" if check.waived else "")


def following(found: dict[str, Any]) -> str:
    """Return the next step for a report that did not pass, such as how many more test rows would decide it."""
    made = schema.of(found)
    undecided = labels.of(made.checks, "inconclusive")
    if made.verdict != "inconclusive" or not undecided:
        return "change conf/ and 'merit run' again"
    by_rows = [f"{plain(c.name, MOST_TEXT)} (about {c.rows_needed:,})" for c in undecided if c.rows_needed]
    others = [plain(c.name, MOST_TEXT) for c in undecided if not c.rows_needed]
    told = [f"more test rows would decide {_some(by_rows)}: more data, or a larger test part"] if by_rows else []
    told += [f"the table says what to do about {_some(others)}"] if others else []
    return f"{'; '.join(told)}; then 'merit run' again"


def _some(names: list[str]) -> str:
    """Return the first names and the number of the others."""
    more = f" and {len(names) - MOST_UNDECIDED} more" if len(names) > MOST_UNDECIDED else ""
    return ", ".join(names[:MOST_UNDECIDED]) + more


def _warnings(made: Report) -> list[str]:
    weaker = [
        f"[bold yellow]weaker:[/]  {_plain(rule.key)}: {_plain(labels.before(rule))} → {_plain(labels.after(rule))}"
        for rule in labels.weakened(made)[:MOST_WEAKER]
    ]
    if (more := len(labels.weakened(made)) - MOST_WEAKER) > 0:
        weaker.append(f"[bold yellow]weaker:[/]  and {more} more, all in {artifacts.GATE_HTML}")
    if weaker and (former := labels.former_model(made)) is not None:
        weaker = [f"rules:   this is another model than {_plain(former)}, and so are its rules: {artifacts.GATE_HTML}"]
    moved = labels.locations(made)
    located = [
        f"[bold yellow]location:[/] {_plain(each.key)}: {_plain(labels.before(each))} → {_plain(labels.after(each))}"
        for each in moved[:MOST_WEAKER]
    ]
    if len(moved) > MOST_WEAKER:
        located.append(f"[bold yellow]location:[/] and {len(moved) - MOST_WEAKER} more, all in {artifacts.GATE_HTML}")
    waived = [
        f"[bold yellow]waiver:[/]  {_plain(each.check)} until {_plain(each.until)}"
        f"{' (expired)' if each.expired else ''}: {_plain(each.reason)}"
        for each in made.waivers
    ]
    return weaker + located + waived


def _plain(text: str) -> str:
    return escape(plain(text, MOST_TEXT))
