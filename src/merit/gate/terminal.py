"""The report on a terminal: what was trained on what, how good it is, and each check."""

import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from merit import artifacts
from merit.gate.words import SUMMARY, interval


class _Console(Console):
    """A console whose reader may go away: that changes no verdict, so the printing goes on in silence."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    # A log has no width of its own; a table folded to 80 columns is hard to read there.
    console = _Console(highlight=False, width=None if Console().is_terminal else 120)
    console.print()
    console.print(_judged(report), soft_wrap=True)
    if report["metrics"]:
        console.print(_metrics(report))
    console.print(_checks(report))
    verdict = report["verdict"]
    console.print(f"verdict: [bold {STYLES[verdict]}]{verdict}[/]: {SUMMARY[verdict]}")
    console.print(f"report:  {artifacts.GATE_HTML} (for people), {artifacts.GATE_MARKDOWN} (for a pull request)")


def _judged(report: dict[str, Any]) -> str:
    parts = report["parts"]
    if parts is None:
        return f"[bold]{report['model']}[/]: its data"
    return (
        f"[bold]{report['model']}[/]: {report['candidate']['network'].rpartition('.')[2]} "
        f"trained on {_part(parts['train'])}, chosen on {_part(parts['validation'])}, judged on {_part(parts['test'])}"
    )


def _part(part: dict[str, Any]) -> str:
    return f"{part['rows']:,} rows" + (f" to {part['to'][:10]}" if "to" in part else "")


def _metrics(report: dict[str, Any]) -> Table:
    table = Table("metric", "candidate", "gradient boosting", title="test rows", title_justify="left")
    for name, found in report["metrics"]["candidate"].items():
        table.add_row(name, interval(found), interval(report["metrics"]["baseline"][name]))
    return table


def _checks(report: dict[str, Any]) -> Table:
    table = Table("check", "verdict", "found", "allowed", title="gate", title_justify="left")
    for check in report["checks"]:
        verdict = check["verdict"]
        table.add_row(check["name"], f"[{STYLES[verdict]}]{verdict}[/]", _plain(check["found"]), check["allowed"])
        if check["advice"]:
            table.add_row("", "", f"[dim]{_plain(check['advice'])}[/]", "")
    return table


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
