"""Checks the gate's own rules: a change may not weaken a threshold and use the weaker threshold at the same time."""

from collections.abc import Mapping, Sequence
from typing import Any

from merit.gate.champion import Champion
from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.report.sections import WAIVER_KEY_PREFIX
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

NAME = "rules"
ALLOWED = "none weaker, unless the model stays as it is"
ADVICE = "change the rules in a pull request of their own, or waive this check with a reason"
MAX_LISTED_RULES = 5


def list_weakened_rules(change: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the rules that are less strict than before, without waivers, which reports list separately."""
    changed_rules: Sequence[dict[str, Any]] = [] if change is None else change["rules"]
    return [rule for rule in changed_rules if rule["weaker"] and not rule["key"].startswith(WAIVER_KEY_PREFIX)]


def check_rules(
    change: Mapping[str, Any] | None, champion: Champion | None, comparison: ChampionComparison
) -> CheckResult:
    """Fail a changed model that comes with weaker rules than the champion had to satisfy.

    Args:
        change: the changes of params.yaml, as in the report; None if there is no commit to compare with.
        champion: the model that was judged by the previous rules; None if there is none.
        comparison: the comparison of the candidate with the champion.
    """
    location_note = _describe_locations(change)
    if champion is None or change is None:
        return _build_check(Verdict.PASS, f"no rules to compare with{location_note}")
    if not (weaker_rules := list_weakened_rules(change)):
        return _build_check(Verdict.PASS, f"no weaker than at {champion.commit[:7]}{location_note}")
    found = f"weaker: {_join_names([rule['key'] for rule in weaker_rules])}"
    if comparison.is_same_model:
        text = f"{found}; the model is the champion's own: its graph and its answers, bit for bit"
        return _build_check(Verdict.PASS, f"{text}{location_note}")
    return _build_check(Verdict.FAIL, f"{found}, and {_describe_model_change(comparison)}{location_note}")


def _describe_model_change(comparison: ChampionComparison) -> str:
    """Return why the model isn't known to be the champion's own."""
    if comparison.problem:
        return f"whether the model changed is unknown: {comparison.problem}"
    if comparison.has_same_answers:
        return "the model's graph changed too, though it answers the test rows as the champion does"
    return "the model changed too"


def _describe_locations(change: Mapping[str, Any] | None) -> str:
    """Return a note on changed locations: they weaken no rule, but a reviewer should see them."""
    names = [each["key"] for each in (change or {}).get("locations", [])]
    return f"; locations that change: {_join_names(names)}" if names else ""


def _join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED_RULES} more" if len(names) > MAX_LISTED_RULES else ""
    return f"{', '.join(names[:MAX_LISTED_RULES])}{more}"


def _build_check(verdict: Verdict, found: str) -> CheckResult:
    return CheckResult(NAME, verdict, found, ALLOWED, ADVICE, group=NAME)


def _check_evidence(evidence: Evidence) -> CheckResult:
    return check_rules(evidence.changes, evidence.champion, evidence.champion_comparison)


FAMILY = CheckFamily(230, lambda _: {NAME: _check_evidence})
