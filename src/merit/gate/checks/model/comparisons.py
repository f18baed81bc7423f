"""Comparisons of the candidate with the gradient boosting baseline and with the champion, on the same rows."""

from merit.gate.champion import describe_missing_champion, explain_unknown_target
from merit.gate.checks.model.limits import check_no_worse
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

BASELINE_ADVICE = "gradient boosting does better on the same columns: use it, or improve the network"
CHAMPION_ADVICE = "the champion is better on the same rows: keep it, or improve the candidate"
UNSCORABLE_CHAMPION_ADVICE = (
    "'dvc push' it where it was made, or compare with the champion of another commit by --against REF; if the change "
    "makes them incomparable and is meant, waive this check in gate.waivers, or give another model a name of its own"
)


def check_baseline(evidence: Evidence) -> Check:
    """Check that the candidate is no worse than gradient boosting on the same columns."""
    rule = evidence.lock.gate.baseline
    difference = evidence.compare_metrics(evidence.baseline, [rule.metric])[rule.metric]
    return check_no_worse(f"baseline: {rule.metric}", difference, evidence, rule, BASELINE_ADVICE)


def check_champion(evidence: Evidence) -> list[Check]:
    """Check that the candidate is no worse than the champion; a champion that can't be scored is inconclusive."""
    champion = evidence.champion
    if champion is None:
        return [Check("champion", Verdict.PASS, describe_missing_champion(), "nothing to compare with")]
    if champion.is_candidate():
        text = (
            f"the model of {champion.commit[:7]}, bit for "
            f"bit{f'; {reason}' if (reason := explain_unknown_target()) else ''}"
        )
        return [Check("champion", Verdict.PASS, text, "no worse than the champion")]
    if evidence.champion_comparison.problem:
        text = f"{champion.commit[:7]} can't be scored: {evidence.champion_comparison.problem}"
        return [Check("champion", Verdict.INCONCLUSIVE, text, "no worse than the champion", UNSCORABLE_CHAMPION_ADVICE)]
    difference = evidence.champion_comparison.difference
    return [
        check_no_worse(f"champion: {rule.metric}", difference[rule.metric], evidence, rule, CHAMPION_ADVICE)
        for rule in evidence.lock.gate.champion
    ]
