from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from merit.gate.checks.model import robustness
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from tests.unit.gate.conftest import run_family

Gated = Callable[..., Evidence]
WAYS = ("missing", "unseen", "noise")


def _checks(evidence: Evidence, gated: Gated, **ways: Any) -> list[Check]:
    return run_family(robustness.FAMILY, gated(evidence, robustness={"metric": "roc_auc", **ways}))


def test_without_a_rule_nothing_is_spoiled(evidence: Evidence) -> None:
    assert run_family(robustness.FAMILY, evidence) == []


def test_each_way_that_is_declared_is_a_check(whole: Evidence, gated: Gated) -> None:
    found = _checks(whole, gated, missing={"amount": 0.1, "margin": 0.5}, noise={"amount": 0.1, "margin": 0.5})
    assert [check.name for check in found] == ["robustness: missing", "robustness: noise"]
    assert {check.verdict for check in found} == {Verdict.PASS}
    assert all(check.found.startswith("roc_auc -0.") for check in found)
    assert all(check.allowed == "at least -0.5" for check in found)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_leans_on_what_is_spoiled_fails(whole: Evidence, gated: Gated, way: str) -> None:
    (check,) = _checks(whole, gated, **{way: {"amount": 1.0, "margin": 0.001}})
    assert check.verdict is Verdict.FAIL
    assert check.advice


def test_where_no_column_can_be_spoiled_so_there_is_nothing_to_judge(evidence: Evidence, gated: Gated) -> None:
    rule = {"amount": 1.0, "margin": 0.0}
    found = {check.name: check for check in _checks(evidence, gated, missing=rule, unseen=rule)}
    assert {check.found for check in found.values()} == {"no column can be perturbed this way"}


def test_only_columns_that_may_lack_a_value_lose_some(whole: Evidence) -> None:
    spoiled = robustness.PERTURBATIONS["missing"](whole, 0.5, np.random.default_rng(0))
    assert list(spoiled) == ["size"]
    assert 0.5 < np.isnan(spoiled["size"]).mean() < 0.6  # a tenth lacked it already


def test_a_category_that_no_row_has_is_unknown_to_the_model(whole: Evidence) -> None:
    spoiled = robustness.PERTURBATIONS["unseen"](whole, 1.0, np.random.default_rng(0))
    assert set(spoiled) == {"shop", "kind"}
    assert set(spoiled["shop"]) == {robustness.UNSEEN_CATEGORY}
    assert not set(spoiled["kind"]) & set(whole.columns["kind"])


def test_numbers_move_by_a_share_of_their_deviation_and_what_is_missing_stays_so(whole: Evidence) -> None:
    spoiled = robustness.PERTURBATIONS["noise"](whole, 0.5, np.random.default_rng(0))
    assert set(spoiled) == {"size", "weight"}
    moved = spoiled["size"] - whole.columns["size"]
    assert np.isnan(moved).mean() == pytest.approx(0.1)
    assert np.nanstd(moved) == pytest.approx(0.5 * np.nanstd(whole.columns["size"]), rel=0.1)


def test_the_same_seed_spoils_the_same(whole: Evidence, gated: Gated) -> None:
    rule = {"amount": 0.3, "margin": 0.1}
    assert _checks(whole, gated, missing=rule) == _checks(whole, gated, missing=rule)


@pytest.mark.parametrize(("values", "unseen"), [([2.0, -9.0, np.nan], 1_000_021.0), ([np.nan], 1_000_003.0)])
def test_an_unseen_number_lies_far_above_all_others(values: list[float], unseen: float) -> None:
    assert robustness._find_unseen_value(np.array(values)) == unseen
