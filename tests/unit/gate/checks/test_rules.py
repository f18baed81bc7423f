from typing import Any

import pytest

from merit.gate.champion import Champion
from merit.gate.checks import rules
from merit.gate.verdict import Verdict


class Rival(Champion):
    """A champion that is the candidate itself, or isn't."""

    same = False

    def is_candidate(self) -> bool:
        """Say what the test says; the real one is tested with the champion."""
        return self.same


def _rival(*, same: bool) -> Champion:
    champion = Rival("a" * 40, {})
    object.__setattr__(champion, "same", same)
    return champion


def _change(*keys: str, weaker: bool = True) -> dict[str, Any]:
    return {"config": [], "rules": [{"key": k, "before": "1", "after": "2", "weaker": weaker} for k in keys]}


def test_a_rule_weakened_with_the_model_is_refused() -> None:
    found = rules.check_rules(_change("gate.floors.roc_auc", "gate.parity"), _rival(same=False))
    assert (found.verdict, found.name, found.group) == (Verdict.FAIL, "rules", "rules")
    assert found.found == "weaker: gate.floors.roc_auc, gate.parity, and the model changed too"
    assert found.advice == "change the rules in a pull request of their own, or waive this check with a reason"


def test_a_rule_weakened_alone_passes_and_is_said() -> None:
    found = rules.check_rules(_change("gate.parity"), _rival(same=True))
    assert found.verdict is Verdict.PASS
    assert found.found == "weaker: gate.parity; the model is the champion's own, bit for bit"


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    "change", [_change(), _change("gate.parity", weaker=False), _change("gate.waivers.size.until")]
)
def test_rules_that_are_no_weaker_pass_and_waivers_are_told_elsewhere(change: dict[str, Any], same: bool) -> None:
    found = rules.check_rules(change, _rival(same=same))
    assert (found.verdict, found.found) == (Verdict.PASS, "no weaker than at aaaaaaa")


@pytest.mark.parametrize(
    ("change", "champion"), [(None, _rival(same=False)), (_change("gate.parity"), None), (None, None)]
)
def test_without_a_champion_or_its_lock_there_are_no_rules_to_compare_with(change: Any, champion: Any) -> None:
    found = rules.check_rules(change, champion)
    assert (found.verdict, found.found) == (Verdict.PASS, "no rules to compare with")


@pytest.mark.parametrize("champion", [None, _rival(same=False), _rival(same=True)])
def test_locations_that_change_are_named_whatever_the_verdict(champion: Any) -> None:
    moved = {"locations": [{"key": key, "before": "a", "after": "b"} for key in ("tracking.uri", "data.source.path")]}
    for change in (_change(), _change("gate.parity")):
        found = rules.check_rules({**change, **moved}, champion)
        assert found.found.endswith("; locations that change: tracking.uri, data.source.path")
        is_rival = champion is not None and not champion.is_candidate()
        assert (found.verdict == Verdict.FAIL) == (change["rules"] != [] and is_rival)


def test_of_many_weaker_rules_a_few_are_named() -> None:
    found = rules.check_rules(_change(*(f"gate.floors.m{n}" for n in range(40))), _rival(same=False))
    assert found.found.startswith("weaker: gate.floors.m0, ")
    assert "gate.floors.m4 and 35 more, and the model changed too" in found.found
