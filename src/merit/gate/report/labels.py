"""What the report says in each of its forms alike."""

from collections.abc import Iterable

from merit.gate.report.schema import Report
from merit.gate.report.sections import Check, Difference, Estimate, Rows, Rule

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
SHOWN = {
    "binary": {"roc_auc": "ROC AUC", "log_loss": "log loss"},
    "multiclass": {"accuracy": "accuracy", "log_loss": "log loss"},
    "regression": {"mae": "MAE", "rmse": "RMSE"},
}
"""The metrics that tables of slices have room for, and their titles."""
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
NOTHING = "-"
TRENDS = {BETTER: "🟢", WORSE: "🔴", UNCLEAR: "⚪"}

LEADS = {
    "all": ("may merge", "may not merge"),
    "data": ("the data may be trained on", "the data may not be trained on"),
    "model": ("the model may merge if its data may", "may not merge"),
}
"""What a verdict means, by what was judged: if it passed, and if not."""


def summary(report: Report) -> str:
    """Return what the verdict means for the pull request, and why."""
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
    """Return the checks of a verdict that no waiver lets pass."""
    return [check for check in checks if check.verdict == verdict and not check.waived]


def weakened(report: Report) -> list[Rule]:
    """Return the rules that let more through than before; waivers are told by their reason instead."""
    return [] if report.change is None else [r for r in report.change.rules if r.weaker and not r.is_waiver]


def locations(report: Report) -> list[Difference]:
    """Return the paths and addresses that change: where data comes from, and where runs, logs and answers go."""
    return [] if report.change is None else report.change.locations


def former_model(report: Report) -> str | None:
    """Return what the model was called before, where the change names another; its rules were that one's."""
    changed = [] if report.change is None else report.change.config
    return next((each.before.strip('"') for each in changed if each.key == "name" and each.before), None)


def before(changed: Difference) -> str:
    """Return what a key was."""
    return "not there" if changed.before is None else changed.before


def after(changed: Difference) -> str:
    """Return what a key is."""
    return "gone" if changed.after is None else changed.after


def part(found: Rows) -> str:
    """Return how many rows a part has, and from when to when, where rows have a time."""
    rows = f"{found.rows:,} rows"
    return f"{rows} ({found.from_[:10]} to {found.to[:10]})" if found.from_ and found.to else rows


def interval(found: Estimate | None, *, signed: bool = False) -> str:
    """Return a value with its interval, or a word where it has no meaning."""
    if found is None:
        return NOTHING
    if found.value is None:
        return "none"
    form = "+.4f" if signed else ".4f"
    if found.low is None or found.high is None:
        return f"{found.value:{form}}"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def trend(difference: Estimate | None, better: str | None) -> str | None:
    """Return what a difference from the champion says: only an interval on one side of zero is clear."""
    if difference is None or not difference.is_known or better is None:
        return None
    assert difference.low is not None
    assert difference.high is not None
    if difference.low <= 0 <= difference.high:
        return UNCLEAR
    return BETTER if (difference.low > 0) == (better == "higher") else WORSE


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
