from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from merit.features.transform import Preprocessing
from merit.gate.checks.model import slices
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.verdict import Check, Verdict
from merit.scoring.package import Package
from tests.unit.gate.conftest import ROWS, rival, run_family, with_other_graph

Gated = Callable[..., Evidence]
RULE = {"metric": "log_loss", "margin": 0.05}


def _against(evidence: Evidence, theirs: np.ndarray) -> Evidence:
    """Return the evidence with these as the champion's predictions."""
    made = replace(evidence, champion=rival())
    made.__dict__["champion_comparison"] = ChampionComparison(predictions=theirs)
    return made


def _check(evidence: Evidence) -> Check:
    (found,) = run_family(slices.FAMILY, evidence)
    return found


def _spoilt(evidence: Evidence, where: np.ndarray) -> np.ndarray:
    return np.where(where, 1 - evidence.candidate, evidence.candidate)


def test_without_a_rule_a_champion_or_slices_nothing_is_compared(evidence: Evidence, gated: Gated) -> None:
    assert run_family(slices.FAMILY, _against(evidence, evidence.candidate)) == []
    assert _check(gated(evidence, slices=RULE)).verdict is Verdict.NOT_APPLICABLE
    unscorable = _check(replace(gated(evidence, slices=RULE), champion=rival()))
    assert (unscorable.verdict, unscorable.found) == (Verdict.NOT_APPLICABLE, "the champion can't be scored")
    assert run_family(slices.FAMILY, _against(gated(evidence, {"slices": []}, slices=RULE), evidence.candidate)) == []


def test_a_champion_that_is_the_candidate_leaves_nothing_to_compare(evidence: Evidence, gated: Gated) -> None:
    assert run_family(slices.FAMILY, replace(gated(evidence, slices=RULE), champion=rival(evidence.package))) == []


def test_the_same_answers_pass_on_every_slice(
    evidence: Evidence, gated: Gated, load: Callable[[Preprocessing], Package]
) -> None:
    same = replace(gated(evidence, slices=RULE), champion=rival(with_other_graph(evidence.package)))
    found = _check(same)
    assert (found.verdict, found.found) == (Verdict.PASS, "3 slices judged")
    assert [each.value for each in same.slices] == ["north", "south", "west"]


def test_one_slice_that_is_worse_fails_though_all_rows_are_better(evidence: Evidence, gated: Gated) -> None:
    north = (evidence.rows["shop"] == "north").to_numpy()
    poisoned = replace(evidence, candidate=_spoilt(evidence, north))
    theirs = np.where(north, evidence.candidate, 0.5)
    found = _check(_against(gated(poisoned, slices=RULE), theirs))
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("worse on shop north +")
    assert found.found.endswith("3 slices judged")
    assert found.allowed == "log_loss at most +0.05, none surely worse"


def test_a_score_is_worse_where_it_is_lower(evidence: Evidence, gated: Gated) -> None:
    north = (evidence.rows["shop"] == "north").to_numpy()
    poisoned = replace(evidence, candidate=_spoilt(evidence, north))
    found = _check(_against(gated(poisoned, slices={"metric": "roc_auc", "margin": 0.05}), evidence.candidate))
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("worse on shop north -")


def test_worse_but_not_surely_by_more_than_the_margin_is_undecided(evidence: Evidence, gated: Gated) -> None:
    draw = np.random.default_rng(0)
    worse = np.clip(evidence.candidate + draw.normal(0, 0.2, ROWS), 0.01, 0.99)
    made = gated(replace(evidence, candidate=worse), slices=RULE)
    found = _check(_against(made, evidence.candidate))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rows_needed is not None
    assert found.rows_needed > ROWS
    assert f"about {found.rows_needed:,} test rows would settle it" in found.advice


def test_a_slice_that_is_worse_by_the_margin_itself_is_no_call_for_rows(evidence: Evidence, gated: Gated) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, ROWS)
    worse = replace(evidence, candidate=np.clip(evidence.candidate + noise, 0.01, 0.99))
    measured = _against(gated(worse, slices=RULE), evidence.candidate).slices
    margin = max(each.difference.value for each in measured if each.difference is not None)
    rule = {"metric": "log_loss", "margin": margin}
    found = _check(_against(gated(worse, slices=rule), evidence.candidate))
    assert (found.verdict, found.rows_needed) == (Verdict.INCONCLUSIVE, None)
    assert "the same for practical purposes" in found.advice


def test_a_slice_of_too_few_rows_is_named_as_such_and_not_judged(evidence: Evidence, gated: Gated) -> None:
    rows = evidence.rows.with_columns(shop=pl.Series(["tiny"] * 5 + evidence.rows["shop"].to_list()[5:]))
    tiny = (rows["shop"] == "tiny").to_numpy()
    poisoned = replace(evidence, rows=rows, candidate=_spoilt(evidence, tiny))
    found = _check(_against(gated(poisoned, slices=RULE), evidence.candidate))
    assert found.verdict is Verdict.PASS
    assert found.found == "3 slices judged, 1 not judged (fewer than 10 rows)"


def test_where_no_slice_has_rows_enough_nothing_passes(evidence: Evidence, gated: Gated) -> None:
    found = _check(_against(gated(evidence, {"slice_min_rows": 1000}, slices=RULE), evidence.candidate))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "lower evaluate.slice_min_rows" in found.advice


def test_a_slice_where_the_metric_has_no_meaning_is_not_judged(evidence: Evidence, gated: Gated) -> None:
    north = (evidence.rows["shop"] == "north").to_numpy()
    one_class = replace(evidence, target=np.where(north, 1.0, evidence.target))
    found = _check(_against(gated(one_class, slices={"metric": "roc_auc", "margin": 0.05}), evidence.candidate))
    assert (found.verdict, found.found) == (
        Verdict.PASS,
        "2 slices judged, 1 not judged (the metric has no meaning there)",
    )


def test_answers_that_are_no_numbers_never_pass(evidence: Evidence, gated: Gated) -> None:
    broken = replace(evidence, candidate=np.full(ROWS, np.nan))
    found = _check(_against(gated(broken, slices=RULE), evidence.candidate))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.advice == "the metric gives no number on these rows: judge on others, or by another metric"


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_twenty_slices_of_noise_seldom_raise_an_alarm(evidence: Evidence, gated: Gated, margin: float) -> None:
    alarms, rounds = 0, 20
    for seed in range(rounds):
        draw = np.random.default_rng(seed)
        rows = evidence.rows.with_columns(shop=pl.Series(draw.permutation(ROWS) % 20).cast(pl.String))
        both = [np.clip(evidence.candidate + draw.normal(0, 0.1, ROWS), 0.01, 0.99) for _ in range(2)]
        made = gated(replace(evidence, rows=rows, candidate=both[0]), slices={"metric": "log_loss", "margin": margin})
        alarms += _check(_against(made, both[1])).verdict is not Verdict.PASS
    assert alarms <= 0.15 * rounds


def test_a_slice_without_a_value_is_a_slice(evidence: Evidence, gated: Gated) -> None:
    rows = evidence.rows.with_columns(shop=pl.when(pl.col("shop") != "north").then("shop"))
    made = _against(gated(replace(evidence, rows=rows), slices=RULE), evidence.candidate)
    assert {each.value for each in made.slices} == {None, "south", "west"}
