from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.gate import NOT_WAIVABLE
from merit.gate.champion import Champion
from merit.gate.checks import rules
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.verdict import Verdict
from tests.unit.gate.conftest import rival, run_family

CHAMPION = Champion("a" * 40, {})
SAME = ChampionComparison(has_same_graph=True, has_same_answers=True)
OTHER = ChampionComparison()


def _change(*keys: str, weaker: bool = True) -> dict[str, Any]:
    return {"config": [], "rules": [{"key": k, "before": "1", "after": "2", "weaker": weaker} for k in keys]}


def test_a_rule_weakened_with_the_model_is_refused() -> None:
    found = rules.check_rules(_change("gate.floors.roc_auc", "gate.parity"), CHAMPION, OTHER)
    assert (found.verdict, found.name, found.group) == (Verdict.FAIL, "rules", "rules")
    assert found.found == "weaker: gate.floors.roc_auc, gate.parity, and the model changed too"
    assert found.advice == "change the rules in a pull request of their own, or waive this check with a reason"


def test_a_rule_weakened_alone_passes_and_is_said() -> None:
    found = rules.check_rules(_change("gate.parity"), CHAMPION, SAME)
    assert found.verdict is Verdict.PASS
    assert found.found == "weaker: gate.parity; the model is the champion's own: its graph and its answers, bit for bit"


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (ChampionComparison(has_same_graph=True), "and the model changed too"),
        (
            ChampionComparison(has_same_answers=True),
            "and the model's graph changed too, though it answers the test rows as the champion does",
        ),
        (
            ChampionComparison(problem="its package is neither in DVC's cache nor in a remote (gone)"),
            "and whether the model changed is unknown: its package is neither in DVC's cache nor in a remote (gone)",
        ),
    ],
    ids=["other answers", "another graph", "no package"],
)
def test_a_model_that_is_not_known_to_be_the_champions_own_may_weaken_no_rule(
    comparison: ChampionComparison, reason: str
) -> None:
    found = rules.check_rules(_change("gate.parity"), CHAMPION, comparison)
    assert (found.verdict, found.found) == (Verdict.FAIL, f"weaker: gate.parity, {reason}")


@pytest.mark.parametrize("comparison", [SAME, OTHER], ids=["same", "other"])
@pytest.mark.parametrize(
    "change", [_change(), _change("gate.parity", weaker=False), _change("gate.waivers.size.until")]
)
def test_rules_that_are_no_weaker_pass_and_waivers_are_told_elsewhere(change: dict[str, Any], comparison: Any) -> None:
    found = rules.check_rules(change, CHAMPION, comparison)
    assert (found.verdict, found.found) == (Verdict.PASS, "no weaker than at aaaaaaa")


@pytest.mark.parametrize(("change", "champion"), [(None, CHAMPION), (_change("gate.parity"), None), (None, None)])
def test_without_a_champion_or_its_lock_there_are_no_rules_to_compare_with(change: Any, champion: Any) -> None:
    found = rules.check_rules(change, champion, OTHER)
    assert (found.verdict, found.found) == (Verdict.NOT_APPLICABLE, "no rules to compare with")


@pytest.mark.parametrize(("champion", "comparison"), [(None, OTHER), (CHAMPION, OTHER), (CHAMPION, SAME)])
def test_locations_that_change_are_named_whatever_the_verdict(champion: Any, comparison: ChampionComparison) -> None:
    moved = {"locations": [{"key": key, "before": "a", "after": "b"} for key in ("tracking.uri", "data.source.path")]}
    for change in (_change(), _change("gate.parity")):
        found = rules.check_rules({**change, **moved}, champion, comparison)
        assert found.found.endswith("; locations that change: tracking.uri, data.source.path")
        is_rival = champion is not None and not comparison.is_same_model
        assert (found.verdict == Verdict.FAIL) == (change["rules"] != [] and is_rival)


def test_of_many_weaker_rules_a_few_are_named() -> None:
    found = rules.check_rules(_change(*(f"gate.floors.m{n}" for n in range(40))), CHAMPION, OTHER)
    assert found.found.startswith("weaker: gate.floors.m0, ")
    assert "gate.floors.m4 and 35 more, and the model changed too" in found.found


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Have HEAD give the model a name."""
    return lambda name: monkeypatch.setattr(rules, "read_committed_name", lambda: name)


@pytest.mark.parametrize("name", ["orders", None])
def test_another_name_fails_until_it_is_waived_and_says_what_it_drops(committed: Any, name: str | None) -> None:
    committed(name)
    found = rules.check_rules({**_change("name"), "dropped": "flights"}, None, OTHER)
    assert (found.verdict, found.name) == (Verdict.FAIL, "rules")
    text = "another name than that of the model on the target branch, flights: no champion and no rule is compared"
    assert found.found == text
    assert found.advice.startswith("keep the name; ")
    assert found.name not in NOT_WAIVABLE


def test_another_name_that_is_not_committed_is_said_and_fails_nothing(committed: Any) -> None:
    committed("flights")
    found = rules.check_rules({**_change("name"), "dropped": "flights"}, None, OTHER)
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert found.found.endswith("flights: no champion and no rule is compared; it is not committed")


@pytest.mark.parametrize(
    ("days", "key", "verdict"),
    [
        (range(1, 32), "data.split.test_until", Verdict.PASS),
        (range(1, 29), "data.split.test_until", Verdict.FAIL),  # three days lack, where each other day has rows
        (range(1, 30, 2), "data.split.test_until", Verdict.PASS),
        (range(1, 11), "data.window.end", Verdict.FAIL),
        (range(1, 11), "gate.floors.roc_auc", Verdict.PASS),
        (range(0), "data.split.test_until", Verdict.FAIL),
    ],
)
def test_a_changed_split_whose_test_rows_end_early_is_weaker(
    evidence: Evidence, make_lock: Callable[..., Lock], days: range, key: str, verdict: Verdict
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["split"] = {
            "by": "time",
            "train_until": "2024-03-31",
            "validation_until": "2024-04-30",
            "test_until": "2024-05-31",
        }

    times = pl.Series("when", [datetime(2024, 5, day) for day in days], dtype=pl.Datetime)
    judged = replace(
        evidence,
        lock=make_lock(edit),
        rows=pl.DataFrame([times]),
        champion=rival(),
        changes={**_change(key, weaker=False), "locations": []},
    )
    (found,) = run_family(rules.FAMILY, judged)
    assert found.verdict is verdict
    if verdict is Verdict.FAIL:
        assert found.found.startswith("weaker: data.split.test_until (the last day with rows is earlier)")
