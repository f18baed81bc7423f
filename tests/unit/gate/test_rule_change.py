import copy
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, Field

from merit.config.schema import Lock
from merit.config.schema.base import Component
from merit.config.schema.gate import Gate
from merit.config.schema.strictness import (
    NoRule,
    Weaker,
    find_declaration,
    find_field,
    get_declaration,
    is_section,
    split_union,
)
from merit.gate import rule_change
from merit.gate.key_changes import ABSENT

GATE: dict[str, Any] = {
    "floors": {"roc_auc": 0.64, "log_loss": 0.5, "profit": 3.0},
    "baseline": {"metric": "roc_auc", "margin": 0.01},
    "champion": [{"metric": "roc_auc", "margin": 0.005}, {"metric": "log_loss", "margin": 0.005}],
    "calibration": 0.05,
    "parity": 1e-5,
    "size_mb": 20.0,
    "slices": {"metric": "roc_auc", "margin": 0.05},
    "robustness": {"metric": "roc_auc", "missing": {"amount": 0.1, "margin": 0.02}, "noise": None},
    "behaviour": {
        "invariance": {"desk": {"column": "desk", "to": 3, "tolerance": 0.01}},
        "direction": {"wind": {"column": "wind", "by": 10, "expect": "not_lower", "tolerance": 0.01}},
        "golden": {"early": {"row": {"hour": 5, "min": 3}, "max": 0.3}},
    },
    "time": {"row_ms": 5.0, "batch_ms": 100.0, "batch": 1000},
    "replay": {"rows": 200},
    "data": {"gone": 0.05, "drift": {"category": 0.15}, "leakage": {"entity": ["plane"]}, "rows": 10000, "seed": 0},
    "checks": {"fair": {"_target_": "own.Fair", "limit": 0.1}},
    "waivers": {"size": {"reason": "agreed on in the review", "until": "2026-12-01"}},
    "resamples": 2000,
    "confidence": 0.95,
}
LOCK = {
    "name": "flights",
    "gate": GATE,
    "evaluate": {"slices": ["carrier", "origin"], "slice_min_rows": 200, "resamples": 1000},
    "package": {"parity": {"rows": 1000, "tolerance": 1e-5}},
}


def _put(path: str, value: Any) -> dict[str, Any]:
    """Return the lock with one value changed, or taken out if it is ABSENT."""
    made = copy.deepcopy(LOCK)
    *above, last = path.split(".")
    place: Any = made
    for name in above:
        place = place.setdefault(name, {})
    if value is ABSENT:
        place.pop(last, None)
    else:
        place[last] = value
    return made


def _weaker(after: dict[str, Any], before: dict[str, Any] = LOCK) -> dict[str, bool]:
    return {rule["key"]: rule["weaker"] for rule in rule_change.list_changed_rules(before, after)}


@pytest.mark.parametrize(
    ("path", "stricter", "weaker"),
    [
        ("gate.floors.roc_auc", 0.7, 0.6),
        ("gate.floors.log_loss", 0.4, 0.6),
        ("gate.baseline.margin", 0.0, 0.02),
        ("gate.calibration", 0.04, 0.06),
        ("gate.parity", 1e-6, 1e-4),
        ("gate.size_mb", 10.0, 30.0),
        ("gate.slices.margin", 0.04, 0.06),
        ("gate.robustness.missing.amount", 0.2, 0.05),
        ("gate.robustness.missing.margin", 0.01, 0.03),
        ("gate.behaviour.invariance.desk.tolerance", 0.0, 0.1),
        ("gate.behaviour.direction.wind.tolerance", 0.001, 0.1),
        ("gate.behaviour.golden.early.max", 0.2, 0.4),
        ("gate.time.row_ms", 4.0, 6.0),
        ("gate.time.batch_ms", 50.0, 200.0),
        ("gate.replay.rows", 300, 100),
        ("gate.data.gone", 0.01, 0.5),
        ("gate.data.drift.category", 0.1, 0.3),
        ("gate.data.rows", 20000, 100),
        ("gate.data.leakage.entity", ["plane", "crew"], []),
        ("gate.data.leakage.entity", ["plane", "crew"], None),
        ("gate.resamples", 4000, 1000),
        ("gate.confidence", 0.99, 0.9),
        ("gate.champion", [*GATE["champion"], {"metric": "brier", "margin": 0.1}], GATE["champion"][:1]),
        ("gate.champion", [{"metric": m, "margin": 0.0} for m in ("roc_auc", "log_loss")], []),
        ("gate.champion", GATE["champion"][::-1], [{"metric": m, "margin": 0.1} for m in ("roc_auc", "log_loss")]),
        ("evaluate.slices", ["carrier", "origin", "hour"], ["carrier"]),
        ("evaluate.slice_min_rows", 100, 10_000),
        ("package.parity.tolerance", 1e-6, 1e-3),
        ("package.parity.rows", 2000, 10),
    ],
)
def test_each_rule_has_its_direction(path: str, stricter: Any, weaker: Any) -> None:
    assert _weaker(_put(path, stricter)) == {path: False}
    assert _weaker(_put(path, weaker)) == {path: True}


def test_a_direction_without_a_tolerance_is_the_strictest() -> None:
    path = "gate.behaviour.direction.wind.tolerance"
    assert _weaker(_put(path, ABSENT)) == {path: False}
    assert _weaker(LOCK, _put(path, ABSENT)) == {path: True}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gate.floors.profit", 4.0),  # whether more of an own metric is better is not known here
        ("gate.floors.profit", 2.0),
        ("gate.baseline.metric", "log_loss"),
        ("gate.champion", "none"),
        ("gate.champion", [{"metric": "roc_auc", "margin": 0.0, "unless": "x"}]),
        ("gate.behaviour.invariance.desk.column", "other"),
        ("gate.behaviour.golden.early.row.min", 4),
        ("gate.checks.fair.limit", 0.05),
        ("gate.data.seed", 1),
        ("gate.confidence", "high"),
        ("gate.resamples", True),
        ("gate.exempt", ["size"]),
        ("gate.checks.fair.margin", 0.0),
    ],
)
def test_what_is_not_known_counts_as_weaker(path: str, value: Any) -> None:
    assert _weaker(_put(path, value)) == {path: True}


@pytest.mark.parametrize(
    ("before", "after", "weaker"),
    [(None, [], True), (None, ["plane"], True), ([], None, False), (["plane"], None, True), ([], ["plane"], False)],
)
def test_to_look_for_entities_asks_for_more_than_to_name_none(before: Any, after: Any, weaker: bool) -> None:
    key = "gate.data.leakage.entity"
    assert _weaker(_put(key, after), _put(key, before)) == {key: weaker}


@pytest.mark.parametrize(
    "path", ["gate.floors.roc_auc", "gate.calibration", "gate.size_mb", "gate.champion", "gate.exempt"]
)
@pytest.mark.parametrize("gone", [ABSENT, None], ids=["gone", "null"])
def test_a_rule_that_is_gone_or_null_is_weaker(path: str, gone: Any) -> None:
    assert _weaker(_put(path, gone), _put("gate.exempt", 3)).get(path) is True


def test_a_section_that_is_gone_is_weaker_in_all_its_keys() -> None:
    assert _weaker(_put("gate.slices", None)) == {
        "gate.slices.metric": True,
        "gate.slices.margin": True,
    }
    found = _weaker(_put("gate", {}))
    assert [key for key, weaker in found.items() if not weaker] == [
        "gate.robustness.noise",  # it was null
        "gate.behaviour.direction.wind.tolerance",  # none is stricter; that the rule is gone its other keys say
        "gate.waivers.size.reason",
        "gate.waivers.size.until",
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gate.floors.brier", 0.2),
        ("gate.floors.loyalty", 0.2),
        ("gate.checks.sound", {"_target_": "own.Sound", "exempt": ["x"]}),
        ("gate.robustness.unseen", {"amount": 0.1, "margin": 0.02}),
        ("gate.robustness.noise", {"amount": 0.1, "margin": 0.02}),
        ("gate.behaviour.direction.rain", {"column": "precip", "by": 1.0, "expect": "not_lower"}),
        ("gate.behaviour.golden.late", {"row": {"hour": 20}, "min": 0.3}),
    ],
)
def test_a_rule_that_is_new_as_a_whole_is_not_weaker(path: str, value: Any) -> None:
    found = _weaker(_put(path, value))
    assert found
    assert not any(found.values())


def test_a_section_that_was_null_may_be_filled() -> None:
    found = _weaker(LOCK, _put("gate.slices", None))
    assert found == {"gate.slices.metric": False, "gate.slices.margin": False}


@pytest.mark.parametrize(
    ("path", "value", "weaker"),
    [
        ("gate.waivers.parity", {"reason": "because", "until": "2026-12-01"}, True),
        ("gate.waivers.size.until", "2027-12-01", True),
        ("gate.waivers.size.until", "2026-11-01", False),
        ("gate.waivers.size.reason", "said better", False),
        ("gate.waivers", {}, False),
    ],
)
def test_more_waivers_are_weaker_and_fewer_are_not(path: str, value: Any, weaker: bool) -> None:
    found = _weaker(_put(path, value))
    assert found
    assert set(found.values()) == {weaker}


COLUMNS = {
    "carrier": {"type": "string", "feature": "category", "allowed": ["DL", "EV"], "missing": 0.0},
    "seats": {"type": "number", "feature": "number", "min": 1.0, "max": 400.0, "missing": 0.25},
    "plane": {"type": "string", "missing": 0.1},
}
DATA: dict[str, Any] = {
    "source": {"_target_": "merit.data.sources.Csv", "path": "a.csv"},
    "fingerprint": "sha256:1",
    "time": "departure",
    "window": {"start": "2013-01-01", "end": "2013-10-31"},
    "filter": "arr_delay IS NOT NULL",
    "target": {"name": "late", "task": "binary", "sql": "arr_delay >= 15", "classes": None},
    "columns": COLUMNS,
    "columns_sha256": "sha256:2",
    "contract": {"rows": {"min": 100, "max": 200}, "unique": ["departure", "plane"]},
    "split": {
        "by": "time",
        "train_until": "2013-08-31",
        "validation_until": "2013-09-30",
        "test_until": "2013-10-31",
    },
}
SHARES = {"by": "group", "column": "plane", "validation": 0.2, "test": 0.2, "seed": 0}
WHOLE = {**LOCK, "seed": 7, "data": DATA, "evaluate": {**LOCK["evaluate"], "baseline": {"max_iter": 400}}}  # type: ignore[dict-item]


def _edit(path: str, value: Any, whole: dict[str, Any] = WHOLE) -> dict[str, Any]:
    """Return all of the lock with one value changed, or taken out if it is ABSENT."""
    made = copy.deepcopy(whole)
    *above, last = path.split(".")
    section = made
    for name in above:
        section = section.setdefault(name, {})
    section[last] = value
    if value is ABSENT:
        del section[last]
    return made


@pytest.mark.parametrize(
    ("path", "stricter", "weaker"),
    [
        ("evaluate.resamples", 2000, 100),
        ("evaluate.slice_resamples", 500, 100),
        ("evaluate.confidence", 0.99, 0.5),
        ("data.contract.rows.min", 150, 1),
        ("data.contract.rows.max", 150, 10**9),
        ("data.columns.seats.missing", 0.0, 0.9),
        ("data.columns.seats.min", 2.0, -1e9),
        ("data.columns.seats.max", 300.0, None),
        ("data.columns.carrier.allowed", ["DL"], ["DL", "EV", "XX"]),
        ("data.columns.carrier.allowed", ["EV", "DL"], None),
        ("data.window.end", "2013-11-15", "2013-10-30"),
        ("data.split.train_until", "2013-09-01", "2013-01-31"),
    ],
)
def test_each_rule_outside_the_gate_has_its_direction(path: str, stricter: Any, weaker: Any) -> None:
    whole = _edit("evaluate", {"resamples": 1000, "slice_resamples": 300, "confidence": 0.95})
    assert _weaker(_edit(path, stricter, whole), whole)[path] is False
    assert _weaker(_edit(path, weaker, whole), whole)[path] is True


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "orders"),
        ("evaluate.baseline.max_iter", 1),
        ("evaluate.baseline.max_depth", 1),
        ("evaluate.metrics", {"profit": {"_target_": "own.Profit"}}),
        ("data.filter", "arr_delay IS NOT NULL AND month < 6"),
        ("data.filter", None),
        ("data.time", "arrival"),
        ("data.target.sql", "arr_delay >= 90"),
        ("data.contract.unique", []),
        ("data.columns.seats.type", "integer"),
        ("data.columns.seats.decimal", ","),
        ("data.columns.carrier.null_values", ["EV"]),
        ("data.split.by", "random"),
        ("package.parity.tolerance", 1.0),
        ("a_section_that_no_schema_knows.key", 3),
    ],
)
def test_any_other_change_of_a_rule_outside_the_gate_is_weaker(path: str, value: Any) -> None:
    found = _weaker(_edit(path, value), WHOLE)
    if path == "evaluate.metrics":  # new as a whole, so it takes nothing away
        assert set(found.values()) == {False}
    else:
        assert found[path] is True


@pytest.mark.parametrize(
    ("path", "value", "weaker"),
    [
        ("data.split.test", 0.3, False),
        ("data.split.test", 0.01, True),
        ("data.split.validation", 0.3, True),
        ("data.split.seed", 1, True),
        ("data.split.column", "carrier", True),
    ],
)
def test_shares_and_seeds_of_a_split_are_rules(path: str, value: Any, weaker: bool) -> None:
    before = _edit("data.split", SHARES)
    assert _weaker(_edit(path, value, before), before) == {path: weaker}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 8),
        ("code", {"own": "sha256:3"}),
        ("form", 4),
        ("merit", {"train": "sha256:3"}),
        ("model", {"_target_": "own.Net", "hidden": [8]}),
        ("optimizer.lr", 0.1),
        ("trainer.max_epochs", 2),
        ("features.number.clip", 3.0),
        ("tracking.uri", "http://10.0.0.1:5000"),
        ("serve.log.folder", "elsewhere"),
        ("stream.url", "nats://10.0.0.1:4222"),
        ("release.registry", "10.0.0.1:5000"),
        ("data.source.path", "b.csv"),
        ("data.fingerprint", "sha256:4"),
        ("data.columns_sha256", "sha256:4"),
        ("data.window.start", "2013-02-01"),
        ("data.columns.seats.feature", "none"),
        ("data.columns.seats.description", "of the plane"),
    ],
)
def test_what_the_gate_judges_and_what_comes_after_it_are_no_rules(path: str, value: Any) -> None:
    assert _weaker(_edit(path, value), WHOLE) == {}


def _move(**days: str) -> dict[str, Any]:
    """Return the lock with other days of the split and the window's end."""
    made = copy.deepcopy(WHOLE)
    made["data"]["window"]["end"] = days.pop("end", "2013-10-31")
    made["data"]["split"].update(days)
    return made


def test_a_window_that_moves_forward_is_told_and_weakens_nothing() -> None:
    days = {"train_until": "2013-09-30", "validation_until": "2013-10-31", "test_until": "2013-11-30"}
    found = _weaker(_move(end="2013-11-30", **days), WHOLE)
    assert set(found) == {"data.window.end", *(f"data.split.{name}" for name in days), "data.split.test_days"}
    assert not any(found.values())


@pytest.mark.parametrize(
    "days",
    [
        {"validation_until": "2013-10-21"},
        {"test_until": "2013-10-10"},
        {"test_until": "2013-10-10", "validation_until": "2013-09-10", "train_until": "2013-08-10"},
        {"end": "2013-10-10"},
        {"end": "2013-11-15", "validation_until": "2013-10-31", "test_until": "2013-12-31"},
    ],
    ids=["ten days", "cut", "moved back", "window cut", "beyond the window"],
)
def test_a_test_part_that_shrinks_or_moves_back_is_weaker(days: dict[str, str]) -> None:
    assert any(_weaker(_move(**days), WHOLE).values())


def test_the_days_of_a_test_part_may_shrink_by_a_tenth() -> None:
    def days(start: str) -> bool:
        return _weaker(_move(validation_until=start), WHOLE)["data.split.test_days"]

    assert (days("2013-10-03"), days("2013-10-04")) == (False, True)  # 28 and 27 of 31


def test_a_window_that_is_new_cuts_the_data_and_one_that_is_gone_does_not() -> None:
    without = _edit("data.window", None)
    assert _weaker(WHOLE, without)["data.window.end"] is True
    assert not any(_weaker(without, WHOLE).values())


def test_a_column_may_come_and_a_feature_may_go_with_all_that_is_said_of_it() -> None:
    new = _edit("data.columns.visib", {"type": "number", "feature": "number", "min": 0.0, "missing": 0.5})
    assert not any(_weaker(new, WHOLE).values())
    assert not any(_weaker(_edit("data.columns.seats", ABSENT), WHOLE).values())
    assert _weaker(_edit("data.columns.plane", ABSENT), WHOLE) == {
        "data.columns.plane.type": True,  # it may be the key by which rows hang together
        "data.columns.plane.missing": True,
    }


def test_a_golden_row_follows_the_models_columns() -> None:
    row = "gate.behaviour.golden.early.row"
    before = _edit("data.columns.min", {"type": "number", "feature": "number"})
    new = _edit("data.columns.visib", {"type": "number", "feature": "number"}, before)
    assert _weaker(_edit(f"{row}.visib", 10, new), before)[f"{row}.visib"] is False
    assert _weaker(_edit(f"{row}.seats", 10, before), before) == {f"{row}.seats": True}  # the model took it before
    gone = _edit("data.columns.min", ABSENT, before)
    assert _weaker(_edit(f"{row}.min", ABSENT, gone), before)[f"{row}.min"] is False
    assert _weaker(_edit(f"{row}.min", ABSENT, before), before) == {f"{row}.min": True}
    assert _weaker(_edit("gate.behaviour.golden.early.max", 0.9, new), before)["gate.behaviour.golden.early.max"]


def test_null_with_a_meaning_of_its_own_is_a_value_like_any_other() -> None:
    rows = _edit("evaluate.blocks", {"by": "row"})
    for null in (WHOLE, _edit("evaluate.blocks", None)):
        assert _weaker(rows, null) == {"evaluate.blocks.by": True}
        assert any(_weaker(null, rows).values())


def test_a_key_that_an_older_lock_lacks_has_its_default() -> None:
    before = _edit("gate.data.seed", ABSENT)
    assert _weaker(WHOLE, before) == {}
    assert _weaker(_edit("gate.data.seed", 1), before) == {"gate.data.seed": True}
    assert _weaker(_edit("gate.waiver_days", 30), WHOLE) == {}
    assert _weaker(_edit("gate.waiver_days", 31), WHOLE) == {"gate.waiver_days": True}
    assert _weaker(_edit("gate.waiver_days", 29), WHOLE) == {"gate.waiver_days": False}


def _list_undeclared(annotation: Any, above: tuple[str, ...] = (), *, is_declared: bool = False) -> Iterator[str]:
    """Yield the keys of params.yaml without a declaration of their own or of a section around them."""
    for kind in split_union(annotation):
        values = get_args(kind)[1] if get_origin(kind) is dict else kind
        if not is_section(values):
            if not is_declared:
                yield ".".join(above)
            continue
        if values is Component and not is_declared:
            yield ".".join(above)
        for name, field in values.model_fields.items() if values is not Component else ():
            declared = is_declared or get_declaration(field) is not None
            yield from _list_undeclared(field.annotation, (*above, name), is_declared=declared)


def test_each_key_of_the_lock_is_declared_to_be_a_rule_or_none() -> None:
    class Undeclared(Gate):
        """A gate with rules whose author forgot to say so."""

        limit: float | None = None
        names: Annotated[list[str], Field(min_length=1)]
        own: dict[str, Component]

    assert list(dict.fromkeys(_list_undeclared(Lock))) == []
    assert list(dict.fromkeys(_list_undeclared(Undeclared))) == ["limit", "names", "own"]


def test_the_nearest_declaration_counts() -> None:
    class Inner(BaseModel):
        """A section."""

        near: Annotated[int, Weaker("larger")]
        far: int

    class Outer(BaseModel):
        """A section around it."""

        inner: Annotated[Inner | None, NoRule("because")]
        bare: dict[str, Inner]

    assert find_declaration(Outer, ("inner", "near")) == Weaker("larger")
    assert find_declaration(Outer, ("inner", "far")) == NoRule("because")
    assert find_declaration(Outer, ("bare", "any", "near")) == Weaker("larger")
    assert find_declaration(Outer, ("bare", "any", "far")) is None
    assert find_declaration(Outer, ("unknown", "near")) is None
    assert find_field(Outer, ("inner", "near")) is Inner.model_fields["near"]
    assert find_field(Outer, ("inner", "unknown")) is None
