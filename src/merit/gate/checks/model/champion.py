"""Champion checks: the candidate is no worse than the champion on the same rows."""

from dataclasses import replace
from functools import partial

from merit.config.schema import Lock
from merit.config.schema.gate import MetricMargin
from merit.gate.champion import describe_missing_champion, explain_unknown_target
from merit.gate.checks.model.limits import check_no_worse
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

NAME = "champion"
ADVICE = "the champion is better on the same rows: keep it, or improve the candidate"
UNLUCKY_ADVICE = "the recipe is no worse, but the packaged seed is: train with another seed"
UNSCORABLE_ADVICE = (
    "'dvc push' it where it was made, or compare with the champion of another commit by --against REF; if the change "
    "makes them incomparable and is meant, waive this check in gate.waivers, or give another model a name of its own"
)


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return a check per metric of gate.champion; a single one if there is no champion to compare metrics with."""
    if evidence.champion is None or evidence.champion_comparison.is_same_model:
        return {NAME: _pass_unchanged}
    if evidence.champion_comparison.problem:
        return {NAME: _report_unscorable}
    rules: dict[str, MetricMargin] = {}
    for rule in evidence.lock.gate.champion:  # of several margins of a metric all must hold, so the smallest decides
        if rule.metric not in rules or rule.margin < rules[rule.metric].margin:
            rules[rule.metric] = rule
    return {f"champion: {metric}": partial(_check_metric, rule=rule) for metric, rule in rules.items()}


def _list_conditional_names(lock: Lock) -> list[str]:
    return [NAME, *(f"champion: {rule.metric}" for rule in lock.gate.champion)]


def _pass_unchanged(evidence: Evidence) -> CheckResult:
    if evidence.champion is None:
        return CheckResult("", Verdict.NOT_APPLICABLE, describe_missing_champion(), "nothing to compare with")
    note = f"; {reason}" if (reason := explain_unknown_target()) else ""
    text = f"the model of {evidence.champion.commit[:7]}: its graph and its answers, bit for bit{note}"
    return CheckResult("", Verdict.PASS, text, "no worse than the champion")


def _report_unscorable(evidence: Evidence) -> CheckResult:
    assert evidence.champion is not None
    comparison = evidence.champion_comparison
    text = (
        f"{evidence.champion.commit[:7]} can't be {'compared' if comparison.advice else 'scored'}: {comparison.problem}"
    )
    advice = comparison.advice or UNSCORABLE_ADVICE
    return CheckResult("", Verdict.INCONCLUSIVE, text, "no worse than the champion", advice)


def _check_metric(evidence: Evidence, *, rule: MetricMargin) -> CheckResult:
    comparison, unseen = evidence.champion_comparison, evidence.unseen_rows
    result = check_no_worse(comparison.difference[rule.metric], evidence, rule, ADVICE, size=evidence.unseen_size)
    note = "" if unseen.is_all else f"; on {unseen.describe()}, which the champion has not seen"
    result = replace(result, found=f"{result.found}{note}")
    counts = (1 + len(evidence.seeds), 1 + len(comparison.seeds))
    if counts == (1, 1):
        return replace(result, found=f"{result.found}; how much a seed alone moves it is not known (evaluate.seeds)")
    packaged = comparison.packaged[rule.metric]
    found = f"{result.found}; means of {counts[0]} and {counts[1]} seeds, the packaged one {packaged:+.4f}"
    is_unlucky = (-packaged if evidence.is_higher_better(rule.metric) else packaged) > rule.margin
    if is_unlucky and result.verdict == Verdict.PASS:
        return replace(result, verdict=Verdict.FAIL, found=found, advice=UNLUCKY_ADVICE)
    return replace(result, found=found)


FAMILY = CheckFamily(130, build_checks, list_conditional_names=_list_conditional_names)
