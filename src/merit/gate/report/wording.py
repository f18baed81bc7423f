"""Provides the texts, symbols and number formats shared by the Markdown, HTML and terminal reports."""

from collections.abc import Iterable

from merit.gate.report.schema import Report
from merit.gate.report.sections import Check, Estimate, FoundSlice, KeyChange, RuleChange, SplitRows

VERDICT_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "not applicable": "⚪"}
SLICE_METRICS = {
    "binary": {"roc_auc": "ROC AUC", "log_loss": "log loss"},
    "multiclass": {"accuracy": "accuracy", "log_loss": "log loss"},
    "regression": {"mae": "MAE", "rmse": "RMSE"},
}
"""The metrics shown in tables of slices, with their titles, by task."""
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
NO_VALUE = "-"
TREND_MARKS = {BETTER: "🟢", WORSE: "🔴", UNCLEAR: "⚪"}

OUTCOMES = {
    "binary": ("positive", "predicted"),
    "multiclass": ("right", "predicted"),
    "regression": ("mean", "predicted"),
}
"""What is observed, and what is predicted, on a slice on which predictions are off, by task."""

CONSEQUENCES = {
    "all": ("may merge", "may not merge"),
    "data": ("the data may be trained on", "the data may not be trained on"),
    "model": ("the model may merge if its data may", "may not merge"),
}
"""The meaning of the verdict by judged scope: if the gate passed, and if it did not."""


def summarize_verdict(report: Report) -> str:
    """Return the consequence of the verdict for the pull request, and the reason."""
    may, may_not = CONSEQUENCES[report.scope]
    failed, undecided = select_checks(report.checks, "fail"), select_checks(report.checks, "inconclusive")
    not_applicable = len(select_checks(report.checks, "not applicable"))
    total, waived = len(report.checks) - not_applicable, sum(check.waived for check in report.checks)
    if report.verdict == "pass":
        notes = [f", {waived} of them by a waiver"] if waived else []
        notes += [f"; {not_applicable} not applicable"] if not_applicable else []
        return f"{may}: {_format_count(total, 'check')} passed{''.join(notes)}"
    reasons = [f"{len(failed)} of {_format_count(total, 'check')} failed"] if failed else []
    if undecided:
        of_all = "" if failed else f" of {_format_count(total, 'check')}"
        reasons.append(f"{len(undecided)}{of_all} could not decide")
    return f"{may_not}: {', '.join(reasons) or 'no check was run'}"


def select_checks(checks: Iterable[Check], verdict: str) -> list[Check]:
    """Return the checks with a verdict, without waived ones."""
    return [check for check in checks if check.verdict == verdict and not check.waived]


def list_weakened_rules(report: Report) -> list[RuleChange]:
    """Return the rules that are less strict than before, without waivers, which reports list separately."""
    return [] if report.change is None else [r for r in report.change.rules if r.weaker and not r.is_waiver]


def list_changed_locations(report: Report) -> list[KeyChange]:
    """Return the changed paths and addresses: data sources, and where runs, logs and predictions are sent."""
    return [] if report.change is None else report.change.locations


def list_code_lines(report: Report) -> list[str]:
    """Return the differences of the project's own code as lines, each file's under a line with its name."""
    lines = []
    for each in report.change.code if report.change else []:
        note = "decides verdicts" if each.decides else "shown only"
        state = "new, " if each.before is None else "gone, " if each.after is None else ""
        lines += [f"{each.file} ({state}{note})", *each.lines]
        lines += [f"... {each.more:,} more lines"] if each.more else []
    return lines


def find_dropped_name(report: Report) -> str | None:
    """Return the name of the target branch's model if this one has another, so that it has no champion; else None."""
    return None if report.change is None or report.champion is not None else report.change.dropped


def format_before(change: KeyChange) -> str:
    """Return the value of a key before the change, as text."""
    return "not there" if change.before is None else change.before


def format_after(change: KeyChange) -> str:
    """Return the value of a key after the change, as text."""
    return "gone" if change.after is None else change.after


def format_split(split: SplitRows) -> str:
    """Return the number of rows of a split, with its period if rows have a time."""
    rows = f"{split.rows:,} rows"
    return f"{rows} ({split.from_[:10]} to {split.to[:10]})" if split.from_ and split.to else rows


def describe_unseen_rows(report: Report) -> str:
    """Return on which test rows the champion was compared; empty if on all of them, or on none."""
    rows = report.test_rows
    if rows is None or rows.unseen is None or rows.unseen.rows == rows.rows:
        return ""
    period = f" ({rows.unseen.from_} to {rows.unseen.to})" if rows.unseen.from_ and rows.unseen.to else ""
    return (
        f"Compared with it on {rows.unseen.rows:,} of {rows.rows:,} test rows{period}: it has seen the others in "
        "training or validation."
    )


def describe_test_use(report: Report) -> str:
    """Return how many candidates were judged on the test rows; empty if that was not counted."""
    rows = report.test_rows
    if rows is None or rows.candidates is None:
        return ""
    candidates = "1 candidate was" if rows.candidates == 1 else f"{rows.candidates:,} candidates were"
    return f"{candidates} judged on these test rows (counted in {rows.counted_in})."


def format_interval(estimate: Estimate | None, *, signed: bool = False) -> str:
    """Format a value with its interval, or a placeholder if it is undefined."""
    if estimate is None:
        return NO_VALUE
    if estimate.value is None:
        return "none"
    number_format = "+.4f" if signed else ".4f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{number_format}}"
    return f"{estimate.value:{number_format}} [{estimate.low:{number_format}}, {estimate.high:{number_format}}]"


def classify_trend(difference: Estimate | None, better: str | None) -> str | None:
    """Return whether a difference from the champion is better or worse; an interval that contains zero is unclear."""
    if difference is None or not difference.has_interval or better is None:
        return None
    assert difference.low is not None
    assert difference.high is not None
    if difference.low <= 0 <= difference.high:
        return UNCLEAR
    return BETTER if (difference.low > 0) == (better == "higher") else WORSE


def describe_unnamed_slices(report: Report) -> list[str]:
    """Return what the search for undeclared slices found, a sentence each."""
    search = report.unnamed_slices
    if search is None:
        return []
    sentences = []
    if (off := search.miscalibrated) is not None:
        observed, predicted = OUTCOMES[report.task]
        number_format = ".4g" if report.task == "regression" else ".1%"
        means = f"{observed} {off.observed:{number_format}}, {predicted} {off.predicted:{number_format}}"
        certainty = "" if is_certain(off.difference) else ", which may be chance"
        sentences.append(f"The predictions are furthest off where {_format_rule(report, off)}: {means}{certainty}.")
    if (worse := search.worse) is not None:
        certainty = "surely" if is_certain(worse.difference) else "not surely"
        difference = format_interval(worse.difference, signed=True)
        where = _format_rule(report, worse)
        sentences.append(f"Against the champion it does worst, {certainty} worse, where {where}: loss {difference}.")
    return sentences


def is_certain(difference: Estimate) -> bool:
    """Return whether the interval lies on one side of zero."""
    return difference.low is not None and difference.high is not None and not difference.low <= 0 <= difference.high


def _format_rule(report: Report, found: FoundSlice) -> str:
    """Return a rule in words with its rows, their share of the test rows, and its blocks."""
    share = f", {found.rows / report.parts.test.rows:.1%}" if report.parts and report.parts.test.rows else ""
    return f"{found.rule} ({found.rows:,} rows{share}, in {_format_count(found.blocks, 'block')})"


def _format_count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
