"""Checks the gate's own rules: a change may not weaken a threshold and use the weaker threshold at the same time."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from merit.config.schema.data import TimeSplit
from merit.gate.champion import Champion, read_committed_name
from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.report.sections import WAIVER_KEY_PREFIX
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

NAME = "rules"
ALLOWED = "none weaker, unless the model stays as it is"
ADVICE = "change the rules in a pull request of their own, or waive this check with a reason"
RENAME_ADVICE = (
    "keep the name; if this is another model and is meant to take that one's place, waive this check with a reason"
)
SPLIT_KEY_PREFIXES = ("data.split", "data.window")
TEST_END_KEY = "data.split.test_until (the last day with rows is earlier)"
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
    if change is not None and champion is None and change.get("dropped"):
        return _check_rename(change["dropped"], location_note)
    if champion is None or change is None:
        return _build_check(Verdict.NOT_APPLICABLE, f"no rules to compare with{location_note}")
    if not (weaker_rules := list_weakened_rules(change)):
        return _build_check(Verdict.PASS, f"no weaker than at {champion.commit[:7]}{location_note}")
    found = f"weaker: {_join_names([rule['key'] for rule in weaker_rules])}"
    if comparison.is_same_model:
        text = f"{found}; the model is the champion's own: its graph and its answers, bit for bit"
        return _build_check(Verdict.PASS, f"{text}{location_note}")
    return _build_check(Verdict.FAIL, f"{found}, and {_describe_model_change(comparison)}{location_note}")


def _check_rename(dropped: str, location_note: str) -> CheckResult:
    """Fail a model that is committed under another name; one that is not can't be merged, such as a fork's on a sample.

    Args:
        dropped: the name of the target branch's model.
        location_note: the note on changed locations.
    """
    found = f"another name than that of the model on the target branch, {dropped}: no champion and no rule is compared"
    if read_committed_name() == dropped:
        return _build_check(Verdict.NOT_APPLICABLE, f"{found}; it is not committed{location_note}")
    return _build_check(Verdict.FAIL, f"{found}{location_note}", RENAME_ADVICE)


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


def _build_check(verdict: Verdict, found: str, advice: str = ADVICE) -> CheckResult:
    return CheckResult(NAME, verdict, found, ALLOWED, advice, group=NAME)


def _check_evidence(evidence: Evidence) -> CheckResult:
    return check_rules(_add_short_test_part(evidence), evidence.champion, evidence.champion_comparison)


def _add_short_test_part(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the changes; a changed split by time whose test part ends before its declared day is a weaker rule."""
    change, data = evidence.changes, evidence.lock.data
    if change is None or data.time is None or not isinstance(data.split, TimeSplit):
        return change
    if not any(rule["key"].startswith(SPLIT_KEY_PREFIXES) for rule in change["rules"]):
        return change
    days = evidence.rows[data.time].drop_nulls().dt.date().unique().sort().to_list()
    longest_gap = max((later - earlier).days for earlier, later in pairwise(days)) if len(days) > 1 else 1
    last = days[-1] if days else None
    if last is not None and (data.split.test_until - last).days <= 2 * longest_gap:
        return change
    rule = {"key": TEST_END_KEY, "before": str(data.split.test_until), "after": str(last), "weaker": True}
    return {**change, "rules": [*change["rules"], rule]}


FAMILY = CheckFamily(230, lambda _: {NAME: _check_evidence})
