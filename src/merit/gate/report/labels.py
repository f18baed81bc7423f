"""Provides the texts, symbols and number formats shared by the Markdown, HTML and terminal reports."""

from collections.abc import Iterable

from merit.gate.report.schema import Report
from merit.gate.report.sections import Check, Difference, Estimate, Rows, Rule

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
SHOWN = {
    "binary": {"roc_auc": "ROC AUC", "log_loss": "log loss"},
    "multiclass": {"accuracy": "accuracy", "log_loss": "log loss"},
    "regression": {"mae": "MAE", "rmse": "RMSE"},
}
"""The metrics shown in tables of slices, with their titles, by task."""
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
NOTHING = "-"
TRENDS = {BETTER: "🟢", WORSE: "🔴", UNCLEAR: "⚪"}

LEADS = {
    "all": ("may merge", "may not merge"),
    "data": ("the data may be trained on", "the data may not be trained on"),
    "model": ("the model may merge if its data may", "may not merge"),
}
"""The meaning of the verdict by judged scope: if the gate passed, and if it did not."""


def summary(report: Report) -> str:
    """Return the consequence of the verdict for the pull request, and the reason."""
    may, may_not = LEADS[report.scope]
    failed, undecided = of(report.checks, "fail"), of(report.checks, "inconclusive")
    total, waived = len(report.checks), sum(check.waived for check in report.checks)
    if report.verdict == "pass":
        return f"{may}: {_count(total, 'check')} passed{f', {waived} of them by a waiver' if waived else ''}"
    reasons = [f"{len(failed)} of {_count(total, 'check')} failed"] if failed else []
    if undecided:
        of_all = "" if failed else f" of {_count(total, 'check')}"
        reasons.append(f"{len(undecided)}{of_all} could not decide")
    return f"{may_not}: {', '.join(reasons) or 'no check was run'}"


def of(checks: Iterable[Check], verdict: str) -> list[Check]:
    """Return the checks with a verdict, without waived ones."""
    return [check for check in checks if check.verdict == verdict and not check.waived]


def weakened(report: Report) -> list[Rule]:
    """Return the rules that are less strict than before, without waivers, which reports list separately."""
    return [] if report.change is None else [r for r in report.change.rules if r.weaker and not r.is_waiver]


def locations(report: Report) -> list[Difference]:
    """Return the changed paths and addresses: data sources, and where runs, logs and predictions are sent."""
    return [] if report.change is None else report.change.locations


def former_model(report: Report) -> str | None:
    """Return the model's previous name if the change renames it, else None; the old rules belong to that model."""
    changed = [] if report.change is None else report.change.config
    return next((each.before.strip('"') for each in changed if each.key == "name" and each.before), None)


def before(changed: Difference) -> str:
    """Return the value of a key before the change, as text."""
    return "not there" if changed.before is None else changed.before


def after(changed: Difference) -> str:
    """Return the value of a key after the change, as text."""
    return "gone" if changed.after is None else changed.after


def part(found: Rows) -> str:
    """Return the number of rows of a split, with its period if rows have a time."""
    rows = f"{found.rows:,} rows"
    return f"{rows} ({found.from_[:10]} to {found.to[:10]})" if found.from_ and found.to else rows


def interval(found: Estimate | None, *, signed: bool = False) -> str:
    """Format a value with its interval, or a placeholder if it is undefined."""
    if found is None:
        return NOTHING
    if found.value is None:
        return "none"
    form = "+.4f" if signed else ".4f"
    if found.low is None or found.high is None:
        return f"{found.value:{form}}"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def trend(difference: Estimate | None, better: str | None) -> str | None:
    """Return whether a difference from the champion is better or worse; an interval that contains zero is unclear."""
    if difference is None or not difference.is_known or better is None:
        return None
    assert difference.low is not None
    assert difference.high is not None
    if difference.low <= 0 <= difference.high:
        return UNCLEAR
    return BETTER if (difference.low > 0) == (better == "higher") else WORSE


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
