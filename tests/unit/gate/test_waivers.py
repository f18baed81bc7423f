from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from merit.config.schema import Lock
from merit.config.schema.gate import NOT_WAIVABLE
from merit.gate import waivers
from merit.gate.verdict import Check, Verdict, combine_verdicts

DAY = date(2026, 6, 15)
WHY = "the festival's traffic, see issue 12"
FOUND = [
    Check("contract", Verdict.PASS, "", ""),
    Check("size", Verdict.FAIL, "9 MB", "at most 1 MB", "make it smaller"),
    Check("floor: roc_auc", Verdict.INCONCLUSIVE, "0.6 [0.5, 0.7]", "at least 0.6", "more rows"),
]
Locked = Callable[..., Lock]


@pytest.fixture
def locked(make_lock: Callable[..., Lock]) -> Locked:
    """Return a lock with waivers until a day, by the names of checks."""

    def make(**until: str) -> Lock:
        given = {name.replace("__", ": "): {"reason": WHY, "until": day} for name, day in until.items()}
        return make_lock(lambda values: values["gate"].update(waivers=given))

    return make


def _counted(found: list[Check]) -> Verdict:
    return combine_verdicts(check.verdict for check in found if not check.waived)


def _summary(found: list[Check]) -> Check:
    assert found[-1].name == "waivers"
    assert found[-1].group == "rules"
    return found[-1]


def test_without_waivers_nothing_is_said_of_them(lock: Lock) -> None:
    assert waivers.apply_waivers(lock, FOUND, DAY, known_names=()) == FOUND
    assert waivers.list_waivers(lock, FOUND, DAY) == []


def test_a_waived_check_keeps_its_verdict_and_counts_no_more(locked: Locked) -> None:
    found = waivers.apply_waivers(locked(size="2026-06-15", floor__roc_auc="2026-07-01"), FOUND, DAY, known_names=())
    assert [check.waived for check in found] == [False, True, True, False]
    assert [check.verdict for check in found[:3]] == [check.verdict for check in FOUND]
    assert found[1].found == "9 MB"
    assert _counted(found) is Verdict.PASS
    assert _summary(found).found == "2 used (size, floor: roc_auc)"


def test_a_waiver_of_one_check_excuses_no_other(locked: Locked) -> None:
    assert (
        _counted(waivers.apply_waivers(locked(size="2026-06-15"), FOUND, DAY, known_names=())) is Verdict.INCONCLUSIVE
    )


def test_a_waiver_that_has_ended_excuses_nothing_and_the_check_says_so(locked: Locked) -> None:
    found = waivers.apply_waivers(locked(size="2026-06-14"), FOUND, DAY, known_names=())
    assert not found[1].waived
    assert found[1].advice == "its waiver ended on 2026-06-14; make it smaller"
    assert _counted(found) is Verdict.FAIL
    assert _summary(found).found == "1 expired (size)"


def test_a_waiver_of_a_check_that_passes_is_told_as_unused(locked: Locked) -> None:
    passed = [Check("size", Verdict.PASS, "", "")]
    found = waivers.apply_waivers(locked(size="2026-07-01"), passed, DAY, known_names=())
    assert not found[0].waived
    assert (_summary(found).verdict, _summary(found).found) == (Verdict.PASS, "1 unused (size)")


def test_a_misspelt_waiver_fails_and_what_was_meant_is_told(locked: Locked) -> None:
    found = _summary(waivers.apply_waivers(locked(floor__roc_acu="2026-07-01"), FOUND, DAY, known_names=()))
    assert found.verdict is Verdict.FAIL
    assert found.found == "1 naming no check (floor: roc_acu)"
    assert found.advice == "no check is named 'floor: roc_acu'; did you mean 'floor: roc_auc'?"


def test_a_waiver_may_name_a_check_that_needs_a_rival(locked: Locked) -> None:
    lock = locked(champion__roc_auc="2026-07-01")
    found = waivers.apply_waivers(lock, FOUND, DAY, known_names=waivers.list_conditional_checks(lock))
    assert (_summary(found).verdict, _summary(found).found) == (Verdict.PASS, "1 unused (champion: roc_auc)")


def test_where_only_a_part_is_judged_a_waiver_of_another_part_is_no_mistake(locked: Locked) -> None:
    assert _summary(waivers.apply_waivers(locked(drift="2026-07-01"), FOUND, DAY)).verdict is Verdict.PASS


def test_the_report_lists_every_waiver(locked: Locked) -> None:
    lock = locked(size="2026-06-15", drift="2026-01-01")
    told = waivers.list_waivers(lock, waivers.apply_waivers(lock, FOUND, DAY), DAY)
    assert told == [
        {"check": "size", "reason": WHY, "until": "2026-06-15", "expired": False, "used": True},
        {"check": "drift", "reason": WHY, "until": "2026-01-01", "expired": True, "used": False},
    ]


@pytest.mark.parametrize("name", NOT_WAIVABLE)
def test_what_the_others_stand_on_can_not_be_waived(locked: Locked, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        locked(**{name: "2026-07-01"})
    assert f"gate.waivers names '{name}', which can't be waived: without it the other checks mean nothing" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "waiver",
    [
        {"reason": "because", "until": "2026-07-01"},
        {"reason": WHY},
        {"until": "2026-07-01"},
        {"reason": WHY, "until": "soon"},
        {"reason": WHY, "until": "2026-07-01", "by": "me"},
    ],
)
def test_a_waiver_needs_a_reason_and_a_day(make_lock: Callable[..., Lock], waiver: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"gate\.waivers\.size"):
        make_lock(lambda values: values["gate"].update(waivers={"size": waiver}))


def test_a_waiver_lasts_so_many_days_and_no_longer(locked: Locked) -> None:
    longest = waivers.apply_waivers(locked(size="2026-07-15"), FOUND, DAY, known_names=())
    assert (longest[1].waived, _summary(longest).verdict) == (True, Verdict.PASS)
    longer = waivers.apply_waivers(locked(size="2026-07-16"), FOUND, DAY, known_names=())
    assert not longer[1].waived
    assert longer[1].advice == "its waiver may not be so long; make it smaller"
    assert _summary(longer).verdict is Verdict.FAIL
    assert _summary(longer).found == "1 longer than 30 days (size)"
    assert _summary(longer).advice == "let 'size' end by 2026-07-15: gate.waiver_days allows 30 days from now on"


def test_so_many_waivers_may_be_in_force_and_no_more(locked: Locked) -> None:
    names = ("size", "floor__roc_auc", "drift", "other")
    ended, current = {"ended": "2026-06-14"}, dict.fromkeys(names[:3], "2026-06-15")
    three = waivers.apply_waivers(locked(**current, **ended), FOUND, DAY)
    assert _summary(three).verdict is Verdict.PASS
    four = waivers.apply_waivers(locked(**dict.fromkeys(names, "2026-06-15")), FOUND, DAY)
    assert _summary(four).verdict is Verdict.FAIL
    assert _summary(four).advice.startswith("4 are in force: gate.waivers_at_once allows 3; ")


@pytest.mark.parametrize("key", ["waiver_days", "waivers_at_once"])
@pytest.mark.parametrize("value", [-1, 91])
def test_the_limits_of_waivers_have_limits(make_lock: Callable[..., Lock], key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=rf"gate\.{key}"):
        make_lock(lambda values: values["gate"].update({key: value}))


def test_the_limits_are_not_raised_by_the_change_that_needs_it(make_lock: Callable[..., Lock]) -> None:
    lock = make_lock(lambda values: values["gate"].update(waiver_days=90, waivers_at_once=10))
    rules = [
        {"key": "gate.waiver_days", "before": "30", "after": "90", "weaker": True},
        {"key": "gate.waivers_at_once", "before": "3", "after": "10", "weaker": True},
    ]
    assert waivers.find_limits(lock, None) == waivers.WaiverLimits(90, 10)
    assert waivers.find_limits(lock, {"rules": []}) == waivers.WaiverLimits(90, 10)
    assert waivers.find_limits(lock, {"rules": rules}) == waivers.WaiverLimits(30, 3)
    none = [{**rules[1], "before": "0"}]
    assert waivers.find_limits(lock, {"rules": none}) == waivers.WaiverLimits(90, 0)
