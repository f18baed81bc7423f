"""Checks the gate's own rules: a change may not weaken a threshold and use the weaker threshold at the same time."""

from collections.abc import Mapping, Sequence
from typing import Any

from merit.gate.champion import Champion
from merit.gate.report.sections import WAIVERS
from merit.gate.verdict import Check, Verdict

NAME = "rules"
ALLOWED = "none weaker, unless the model stays as it is"
ADVICE = "change the rules in a pull request of their own, or waive this check with a reason"
MOST_NAMED = 5


def weakened(change: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the rules that are less strict than before, without waivers, which reports list separately."""
    found: Sequence[dict[str, Any]] = [] if change is None else change["rules"]
    return [rule for rule in found if rule["weaker"] and not rule["key"].startswith(WAIVERS)]


def check(change: Mapping[str, Any] | None, champion: Champion | None) -> Check:
    """Fail a changed model that comes with weaker rules than the champion had to satisfy.

    Args:
        change: the changes of params.yaml, as in the report; None if there is no commit to compare with.
        champion: the model that was judged by the previous rules; None if there is none.
    """
    moved = _moved(change)
    if champion is None or change is None:
        return _check(Verdict.PASS, f"no rules to compare with{moved}")
    if not (weaker := weakened(change)):
        return _check(Verdict.PASS, f"no weaker than at {champion.commit[:7]}{moved}")
    found = f"weaker: {_named([rule['key'] for rule in weaker])}"
    if champion.is_candidate():
        return _check(Verdict.PASS, f"{found}; the model is the champion's own, bit for bit{moved}")
    return _check(Verdict.FAIL, f"{found}, and the model changed too{moved}", ADVICE)


def _moved(change: Mapping[str, Any] | None) -> str:
    """Return a note on changed locations: they weaken no rule, but a reviewer should see them."""
    names = [each["key"] for each in (change or {}).get("locations", [])]
    return f"; locations that change: {_named(names)}" if names else ""


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _check(verdict: Verdict, found: str, advice: str = "") -> Check:
    return Check(NAME, verdict, found, ALLOWED, advice, group=NAME)
