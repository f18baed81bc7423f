from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from merit.config.schema import Lock
from merit.gate.checks.model import behaviour
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.scoring.package import Package
from tests.unit.gate.conftest import run_family

Gated = Callable[..., Evidence]
ROW = {"shop": "north", "kind": 2, "size": 50, "weight": 0.5}  # codes 1 and 2, numbers 0, no flag: sigmoid(3)


def _check(evidence: Evidence, gated: Gated, kind: str, **rule: Any) -> Check:
    (found,) = run_family(behaviour.FAMILY, gated(evidence, behaviour={kind: {"it": rule}}))
    assert found.name == f"{kind}: it"
    return found


def test_without_expectations_there_is_no_check(evidence: Evidence) -> None:
    assert run_family(behaviour.FAMILY, evidence) == []


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"column": "size", "by": 0.01, "tolerance": 0.001}, Verdict.PASS),
        ({"column": "size", "by": 5, "tolerance": 0.001}, Verdict.FAIL),
        ({"column": "size", "by": 5, "tolerance": 0.2}, Verdict.PASS),
        ({"column": "shop", "to": "south", "tolerance": 0.01}, Verdict.FAIL),
        ({"column": "kind", "to": 3, "tolerance": 1}, Verdict.PASS),
    ],
)
def test_no_answer_may_follow_what_does_not_matter(
    whole: Evidence, gated: Gated, rule: dict[str, Any], verdict: Verdict
) -> None:
    found = _check(whole, gated, "invariance", **rule)
    assert found.verdict is verdict
    assert found.found.startswith("moved by at most 0.")
    if verdict is Verdict.FAIL:
        assert "rows by more than allowed" in found.found
        assert rule["column"] in found.advice


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"by": 5, "expect": "not_lower"}, Verdict.PASS),
        ({"by": 5, "expect": "not_higher"}, Verdict.FAIL),
        ({"by": -5, "expect": "not_higher"}, Verdict.PASS),
        ({"by": -5, "expect": "not_lower"}, Verdict.FAIL),
        ({"by": 0.0, "expect": "not_lower"}, Verdict.PASS),
    ],
)
def test_the_mean_answer_goes_where_it_must(
    whole: Evidence, gated: Gated, rule: dict[str, Any], verdict: Verdict
) -> None:
    found = _check(whole, gated, "direction", column="size", **rule)
    assert found.verdict is verdict
    assert found.found.endswith("on average")
    assert found.allowed == f"{rule['expect'].replace('_', ' ')}, size {rule['by']:+g}"


@pytest.mark.parametrize(("by", "expect"), [(5, "not_higher"), (-5, "not_lower")])
def test_a_mean_may_go_the_other_way_by_the_tolerance(whole: Evidence, gated: Gated, by: int, expect: str) -> None:
    rule = {"column": "size", "by": by, "expect": expect}
    wide, narrow = (_check(whole, gated, "direction", **rule, tolerance=each) for each in (0.5, 1e-6))
    assert (wide.verdict, narrow.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert wide.allowed == f"{expect.replace('_', ' ')} by more than 0.5, size {by:+g}"


def test_a_mean_that_may_go_either_way_is_undecided(whole: Evidence, gated: Gated) -> None:
    class Unsteady(_Spy):
        def predict(self, columns: Any) -> Any:
            return whole.candidate + np.random.default_rng(0).normal(0, 0.1, len(whole.candidate))

    found = _check(
        replace(whole, package=Unsteady(whole.package, [])), gated, "direction", column="size", by=1, expect="not_lower"
    )
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the same for practical purposes" in found.advice


def test_what_is_added_stays_within_the_columns_bounds_and_what_is_missing_stays_missing(
    whole: Evidence, gated: Gated
) -> None:
    seen: list[np.ndarray] = []
    spied = replace(whole, package=_Spy(whole.package, seen))
    _check(spied, gated, "invariance", column="kind", by=100, tolerance=1)
    assert set(seen[-1]["kind"]) == {9.0}  # its max
    _check(spied, gated, "invariance", column="size", by=1, tolerance=1)
    assert np.isnan(seen[-1]["size"]).sum() == whole.rows["size"].null_count()


class _Spy:
    """A package that notes what it is asked."""

    def __init__(self, package: Package, seen: list[Any]) -> None:
        self._package, self._seen = package, seen
        self.graph = package.graph

    def predict(self, columns: Any) -> Any:
        self._seen.append(columns)
        return self._package.predict(columns)


class _Constant(_Spy):
    """A package that predicts a half for every row."""

    def predict(self, columns: Any) -> Any:
        self._seen.append(columns)
        return np.full(len(next(iter(columns.values()))), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "by", "expected"),
    [([1.0, 5.0, 9.0], 4, [5.0, 9.0, 9.0]), ([1.0, 5.0, 9.0], -4, [1.0, 1.0, 5.0]),
     ([0.0, 12.0], 4, [4.0, 12.0]), ([0.0, 12.0], -4, [0.0, 8.0])],
)  # fmt: skip
def test_a_change_ends_at_the_columns_bound_and_never_moves_a_value_that_lies_beyond_it(
    whole: Evidence, gated: Gated, values: list[float], by: int, expected: list[float]
) -> None:
    seen: list[Any] = []
    columns = {name: column[: len(values)] for name, column in whole.columns.items()} | {"kind": np.array(values)}
    changed = replace(whole, package=_Constant(whole.package, seen), candidate=np.full(len(values), 0.5))
    judged = gated(changed, behaviour={"invariance": {"it": {"column": "kind", "by": by, "tolerance": 1}}})
    judged.__dict__["columns"] = columns
    run_family(behaviour.FAMILY, judged)
    assert seen[-1]["kind"].tolist() == expected


@pytest.mark.parametrize(
    ("kind", "rule", "verdict"),
    [
        ("golden", {"row": ROW, "min": 0.5}, Verdict.PASS),
        ("golden", {"row": ROW, "max": 0.5}, Verdict.PASS),
        ("golden", {"row": ROW, "min": 0.501}, Verdict.FAIL),
        ("golden", {"row": ROW, "max": 0.499}, Verdict.FAIL),
        ("invariance", {"column": "size", "by": 1, "tolerance": 0.25}, Verdict.PASS),
        ("invariance", {"column": "size", "by": 1, "tolerance": 0.249}, Verdict.FAIL),
    ],
)
def test_an_expectation_holds_up_to_its_bound(
    whole: Evidence, gated: Gated, kind: str, rule: dict[str, Any], verdict: Verdict
) -> None:
    candidate = np.where(np.arange(len(whole.candidate)) < 7, 0.25, 0.5)
    constant = replace(whole, package=_Constant(whole.package, []), candidate=candidate)
    found = _check(constant, gated, kind, **rule)
    assert found.verdict is verdict
    if kind == "invariance":
        more = ", 7 rows by more than allowed" if verdict is Verdict.FAIL else ""
        assert found.found == f"moved by at most 0.2500{more}"


def test_a_mean_change_has_the_interval_of_a_normal_mean(whole: Evidence, gated: Gated) -> None:
    rows = len(whole.candidate)
    candidate = 0.5 + np.where(np.arange(rows) % 2 == 0, 0.1, -0.1)
    constant = replace(whole, package=_Constant(whole.package, []), candidate=candidate)
    found = _check(constant, gated, "direction", column="size", by=1, expect="not_lower")
    half_width = 1.959964 * 0.1 / rows**0.5
    assert found.found == f"+0.0000 [-{half_width:.4f}, +{half_width:.4f}] on average"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"min": 0.9}, Verdict.PASS),
        ({"max": 0.9}, Verdict.FAIL),
        ({"min": 0.9, "max": 0.99}, Verdict.PASS),
        ({"min": 0.1, "max": 0.2}, Verdict.FAIL),
        ({"value": 0.9526, "tolerance": 0.001}, Verdict.PASS),
        ({"value": 0.9, "tolerance": 0.001}, Verdict.FAIL),
    ],
)
def test_a_golden_row_gets_its_answer(
    whole: Evidence, gated: Gated, answer: dict[str, float], verdict: Verdict
) -> None:
    found = _check(whole, gated, "golden", row=ROW, **answer)
    assert (found.verdict, found.found) == (verdict, "0.9526")


def test_a_column_that_may_be_missing_can_be_left_out_of_a_golden_row(whole: Evidence, gated: Gated) -> None:
    row = {name: value for name, value in ROW.items() if name != "size"}  # flagged: sigmoid(4)
    found = _check(whole, gated, "golden", row=row, min=0.0)
    assert found.found == "0.9820"


@pytest.mark.parametrize("kind", ["invariance", "direction", "golden"])
def test_answers_that_are_no_numbers_never_pass(whole: Evidence, gated: Gated, kind: str) -> None:
    class Broken(_Spy):
        def predict(self, columns: Any) -> Any:
            return super().predict(columns) * np.nan

    rules = {
        "invariance": {"column": "size", "by": 1, "tolerance": 1},
        "direction": {"column": "size", "by": 1, "expect": "not_lower"},
        "golden": {"row": ROW, "min": 0.0},
    }
    found = _check(replace(whole, package=Broken(whole.package, [])), gated, kind, **rules[kind])
    assert found.verdict is not Verdict.PASS


def test_of_several_classes_a_label_says_which_one_is_meant(whole: Evidence, gated: Gated) -> None:
    many = gated(whole, behaviour={})
    target = many.lock.data.target.model_copy(update={"task": "multiclass", "classes": ["a", "b"]})
    classes = many.lock.model_copy(update={"data": many.lock.data.model_copy(update={"target": target})})
    both = replace(many, lock=classes)
    assert behaviour._select_prediction(both, np.array([[0.2, 0.8]]), "b").tolist() == [0.8]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"invariance": {"x": {"column": "sise", "by": 1, "tolerance": 1}}}, "names 'sise', which is no column"),
        ({"invariance": {"x": {"column": "when", "by": 1, "tolerance": 1}}}, "names 'when', which is no column"),
        ({"direction": {"x": {"column": "shop", "by": 1, "expect": "not_lower"}}}, "give 'to' instead of 'by'"),
        ({"direction": {"x": {"column": "shop", "to": 1, "expect": "not_lower"}}}, "allowed: string"),
        ({"golden": {"x": {"row": {"shop": "north"}, "min": 0.1}}}, "lacks kind, weight"),
        ({"golden": {"x": {"row": {**ROW, "size": "big"}, "min": 0.1}}}, "allowed: number or null"),
        ({"golden": {"x": {"row": {**ROW, "kind": 1.5}, "min": 0.1}}}, "allowed: integer"),
        ({"golden": {"x": {"row": {**ROW, "weight": None}, "min": 0.1}}}, "gives 'weight' the value None"),
        ({"golden": {"x": {"row": ROW, "min": 0.1, "label": "a"}}}, "has a label"),
        ({"golden": {"x": {"row": ROW}}}, "give either min, max or both, or value and tolerance"),
        ({"golden": {"x": {"row": ROW, "value": 0.1}}}, "give either min, max or both, or value and tolerance"),
        ({"golden": {"x": {"row": ROW, "min": 0.2, "max": 0.1}}}, "min 0.2 is above max 0.1"),
        ({"invariance": {"x": {"column": "size", "tolerance": 1}}}, "give either by"),
        ({"invariance": {"x": {"column": "size", "by": 1, "to": 2, "tolerance": 1}}}, "give either by"),
        ({"invariance": {"a b": {"column": "size", "by": 1, "tolerance": 1}}}, "'a b' is no name"),
    ],
)
def test_an_expectation_that_does_not_fit_the_data_is_no_configuration(
    make_lock: Callable[..., Lock], edit: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=r"(?s).") as caught:
        make_lock(lambda values: values["gate"].update(behaviour=edit))
    assert told in str(caught.value)


def test_a_time_is_its_wall_clock_in_seconds_whatever_its_zone() -> None:
    assert behaviour._to_epoch_seconds("1970-01-02T00:00:01+02:00") == 86_401.0
    assert np.isnan(behaviour._to_epoch_seconds(None))


def test_a_golden_row_of_another_shape_is_inconclusive(
    whole: Evidence, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = behaviour._build_column
    monkeypatch.setattr(behaviour, "_build_column", lambda judged, name, values: build(judged, name, [[1.0, 2.0]]))
    numbers = replace(whole, package=_Constant(whole.package, []))
    numbers.package.graph.inputs = {"size": "number"}
    found = _check(numbers, gated, "golden", row=ROW, min=0.1)
    assert (found.verdict, found.found) == (Verdict.INCONCLUSIVE, "'size' is not of the shape None")
    assert found.advice == "correct the row in gate.behaviour.golden.it"
