"""Check of unnamed slices: whether the candidate is worse than the champion where no declared slice looks."""

from merit.gate.checks.model.limits import UNDEFINED_METRIC_ADVICE
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.slice_search import MIN_BLOCKS
from merit.gate.unnamed_slices import UnnamedSlices
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict, check_at_most

NAME = "unnamed slices"
FAIL_ADVICE = (
    "look at what the candidate does on these rows; where they matter, declare them: a column of this rule in "
    "evaluate.slices is judged on every change"
)
UNSURE_ADVICE = "worse there, but not surely by more than the margin: look at these rows, or judge on more test rows"


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the check; none if nothing is compared."""
    is_compared = evidence.lock.gate.unnamed_slices is not None
    return {NAME: check_unnamed_slices} if is_compared and evidence.champion_comparison.predictions is not None else {}


def check_unnamed_slices(evidence: Evidence) -> CheckResult:
    """Check that the candidate is surely worse than the champion on no slice of one or two conditions."""
    rule, search = evidence.lock.gate.unnamed_slices, evidence.unnamed_slices
    assert rule is not None
    assert search is not None
    measure = "squared error" if evidence.lock.data.target.task == "regression" else "log loss"
    allowed = f"{measure} at most {rule.margin:+g}, none surely worse"
    if not search.is_finite:
        return CheckResult("", Verdict.INCONCLUSIVE, "a prediction is not finite", allowed, UNDEFINED_METRIC_ADVICE)
    if not search.searched:
        text = f"no slice has {search.min_rows:,} rows in {MIN_BLOCKS} blocks"
        return CheckResult("", Verdict.NOT_APPLICABLE, text, allowed)
    verdict = _judge_slice(search, rule.margin)
    advice = FAIL_ADVICE if verdict == Verdict.FAIL else UNSURE_ADVICE
    return CheckResult("", verdict, _summarize_search(search, verdict), allowed, advice)


def _judge_slice(search: UnnamedSlices, margin: float) -> Verdict:
    """Return the verdict on the worst slice: one that is not surely worse, or by less than the margin, passes."""
    if search.worse is None or search.worse.error.low <= 0 or search.worse.error.value <= margin:
        return Verdict.PASS
    return check_at_most(search.worse.error, margin)


def _summarize_search(search: UnnamedSlices, verdict: Verdict) -> str:
    searched = f"{search.searched:,} slices of one or two conditions searched"
    if search.worse is None or verdict == Verdict.PASS:
        return searched
    found = search.worse
    return (
        f"worse where {found.rule} {found.error.value:+.4f} [{found.error.low:+.4f}, {found.error.high:+.4f}] "
        f"({found.mask.sum():,} rows in {found.blocks} blocks); {searched}"
    )


FAMILY = CheckFamily(145, build_checks, phase="searching slices", list_conditional_names=lambda _: [NAME])
