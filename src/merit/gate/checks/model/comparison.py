"""Comparisons of the candidate with the gradient boosting baseline and with the champion, on the same rows."""

from merit.gate.champion import none_yet, unknown
from merit.gate.checks.model.limits import no_worse
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

BETTER_BASELINE = "gradient boosting does better on the same columns: use it, or improve the network"
BETTER_CHAMPION = "the champion is better on the same rows: keep it, or improve the candidate"
NO_CHAMPION = (
    "'dvc push' it where it was made, or compare with the champion of another commit by --against REF; if the change "
    "makes them incomparable and is meant, waive this check in gate.waivers, or give another model a name of its own"
)


def baseline(evidence: Evidence) -> Check:
    """Check that the candidate is no worse than gradient boosting on the same columns."""
    rule = evidence.lock.gate.baseline
    found = evidence.difference(evidence.baseline, [rule.metric])[rule.metric]
    return no_worse(f"baseline: {rule.metric}", found, evidence, rule, BETTER_BASELINE)


def champion(evidence: Evidence) -> list[Check]:
    """Check that the candidate is no worse than the champion; a champion that can't be scored is inconclusive."""
    rival = evidence.champion
    if rival is None:
        return [Check("champion", Verdict.PASS, none_yet(), "nothing to compare with")]
    if rival.is_candidate():
        found = f"the model of {rival.commit[:7]}, bit for bit{f'; {why}' if (why := unknown()) else ''}"
        return [Check("champion", Verdict.PASS, found, "no worse than the champion")]
    if evidence.rivalry.problem:
        found = f"{rival.commit[:7]} can't be scored: {evidence.rivalry.problem}"
        return [Check("champion", Verdict.INCONCLUSIVE, found, "no worse than the champion", NO_CHAMPION)]
    difference = evidence.rivalry.difference
    return [
        no_worse(f"champion: {rule.metric}", difference[rule.metric], evidence, rule, BETTER_CHAMPION)
        for rule in evidence.lock.gate.champion
    ]
