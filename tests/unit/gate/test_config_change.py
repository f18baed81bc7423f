import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, Field

from merit import artifacts
from merit.config.schema import Lock, strictness
from merit.config.schema.base import Component
from merit.config.schema.gate import Gate, Waiver
from merit.errors import MeritError
from merit.gate import config_change
from merit.gate.champion import Champion

Git = Callable[..., str]

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
    if value is config_change.ABSENT:
        place.pop(last, None)
    else:
        place[last] = value
    return made


def _weaker(after: dict[str, Any], before: dict[str, Any] = LOCK) -> dict[str, bool]:
    return {rule["key"]: rule["weaker"] for rule in config_change.list_changed_rules(before, after)}


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
    assert _weaker(_put(path, config_change.ABSENT)) == {path: False}
    assert _weaker(LOCK, _put(path, config_change.ABSENT)) == {path: True}


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
@pytest.mark.parametrize("gone", [config_change.ABSENT, None], ids=["gone", "null"])
def test_a_rule_that_is_gone_or_null_is_weaker(path: str, gone: Any) -> None:
    assert _weaker(_put(path, gone), _put("gate.exempt", 3)).get(path) is True


def test_a_section_that_is_gone_is_weaker_in_all_its_keys() -> None:
    assert _weaker(_put("gate.slices", None)) == {
        "gate.slices": False,
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


def test_other_sections_hold_no_rules() -> None:
    after = _put("evaluate.resamples", 100)
    assert config_change.list_changed_rules(LOCK, after) == []
    assert [each["key"] for each in config_change.list_changed_keys(LOCK, after)] == ["evaluate.resamples"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"a": [1, 2]}, {"a": [1, True]}, [("a", "[1, 2]", "[1, true]")]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", "1", "2")]),
        ({"a": None}, {}, [("a", "null", None)]),
        ({}, {"a": None}, [("a", None, "null")]),
        ({"a": None}, {"a": "null"}, [("a", "null", '"null"')]),
        ({"a": "x"}, {"a": "3"}, [("a", "x", '"3"')]),
        ({"a": "x"}, {"a": "2026-12-01"}, [("a", "x", '"2026-12-01"')]),
        ({"a": "x"}, {"a": "y: z\nw"}, [("a", "x", '"y: z\\nw"')]),
        ({"a": "x"}, {"a": ""}, [("a", "x", '""')]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [("a", '[{"b": 1}]', '[{"b": 2}]')]),
        ({"a.b": {"c": 1}}, {"a.b": {"c": 2}}, [('"a.b".c', "1", "2")]),
        ({"a": {"b": 1}}, {"a": 3}, [("a", None, "3"), ("a.b", "1", None)]),
        ({"a": None}, {"a": {"b": 1}}, [("a.b", None, "1")]),
        ({"a": {}}, {}, []),
        ({"z": 1, "a": 1}, {"a": 2, "z": 2}, [("a", "1", "2"), ("z", "1", "2")]),
    ],
)
def test_every_leaf_that_differs_is_told_once(before: Any, after: Any, told: list[tuple[str, Any, Any]]) -> None:
    found = [(each["key"], each["before"], each["after"]) for each in config_change.list_changed_keys(before, after)]
    assert found == told


@pytest.fixture
def committed(git_repo: Git, lock: Lock) -> str:
    """A commit whose params.yaml is the lock."""
    Path("params.yaml").write_text(yaml.safe_dump(lock.model_dump(mode="json", by_alias=True)), encoding="utf-8")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "-m", "x")
    return git_repo("rev-parse", "HEAD")


def test_a_lock_is_compared_with_the_champions(committed: str, lock: Lock, make_lock: Callable[..., Lock]) -> None:
    assert config_change.compare_with_champion(lock, Champion(committed, {})) == {
        "config": [],
        "rules": [],
        "locations": [],
    }
    other = make_lock(lambda values: (values.update(seed=8), values["gate"].update(size_mb=99.0)))
    found = config_change.compare_with_champion(other, Champion(committed, {}))
    assert [each["key"] for each in found["config"]] == ["seed", "gate.size_mb"]
    assert found["rules"] == [{"key": "gate.size_mb", "before": "1.0", "after": "99.0", "weaker": True}]
    assert (
        config_change.compare_with_champion(other, None)
        == config_change.compare_with_champion(other, None, "HEAD")
        == found
    )


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda v: v["tracking"].update(uri="http://10.0.0.1:5000"),
         [("tracking.uri", "sqlite:///mlflow.db", "http://10.0.0.1:5000")]),
        (lambda v: v["serve"].update(log={"folder": "elsewhere"}, telemetry={"endpoint": "http://10.0.0.1:4318"}),
         [("serve.log.folder", "null", "elsewhere"),
          ("serve.telemetry.endpoint", "null", "http://10.0.0.1:4318")]),
        (lambda v: v["data"].update(source={"_target_": "merit.data.sources.Csv", "path": "other.csv"}),
         [("data.source._target_", "merit.data.sources.Parquet", "merit.data.sources.Csv"),
          ("data.source.path", "source.parquet", "other.csv")]),
        (lambda v: v["serve"].update(host="10.0.0.1", auth={"method": "proxy"}),
         [("serve.host", "127.0.0.1", "10.0.0.1"), ("serve.auth.method", "none", "proxy")]),
        (lambda v: v.update(stream={"url": "nats://10.0.0.1:4222"}, release={"registry": "10.0.0.1:5000"}),
         [("stream.url", "nats://127.0.0.1:4222", "nats://10.0.0.1:4222"),
          ("release.registry", "null", "10.0.0.1:5000")]),
        (lambda v: v.update(seed=8), []),
    ],
)  # fmt: skip
def test_a_location_that_changes_is_found(
    committed: str, make_lock: Callable[..., Lock], edit: Any, found: list[tuple[str, str, str]]
) -> None:
    changed = config_change.compare_with_champion(make_lock(edit), None)
    assert changed is not None
    assert [(each["key"], each["before"], each["after"]) for each in changed["locations"]] == found


def _is_text(annotation: Any) -> bool:
    return annotation is str or (get_origin(annotation) is Annotated and get_args(annotation)[0] is str)


def _texts(form: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of a form that hold any text."""
    for name, field in form.model_fields.items():
        is_choice = get_origin(field.annotation) in {Union, UnionType}
        kinds = get_args(field.annotation) if is_choice else (field.annotation,)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _texts(kind, (*above, name))
        if any(map(_is_text, kinds)):
            yield (*above, name)


NO_LOCATION = {
    "name", "stream.group", "stream.key", "trainer.monitor", "gate.baseline.metric", "gate.robustness.metric",
    "gate.slices.metric", "data.fingerprint", "data.filter", "data.split.column", "data.time", "data.target.name",
    "data.target.sql", "data.columns_sha256",
    "model.target", "optimizer.target",
}  # fmt: skip
"""Keys of any text that name neither a path nor an address."""


def test_whoever_adds_a_key_of_any_text_says_whether_it_is_a_location() -> None:
    located = {".".join(location) for location in config_change.LOCATION_PATHS}
    for path in _texts(Lock):
        key = ".".join(path)
        is_located = any(f"{key}.".startswith(f"{each}.") for each in located)
        assert is_located != (key in NO_LOCATION), key


def test_every_location_is_a_key_of_the_lock(lock: Lock) -> None:
    values = lock.model_dump(mode="json", by_alias=True)
    for location in config_change.LOCATION_PATHS:
        inner = values
        for name in location:
            assert name in inner, location
            inner = inner[name]


def _list_undeclared(section: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys of numbers, booleans and lists in a section that don't declare which change is weaker."""
    for name, field in section.model_fields.items():
        for kind in strictness.split_union(field.annotation):
            values = get_args(kind)[1] if get_origin(kind) is dict else kind
            if strictness.is_section(values) and values not in (Component, Waiver):
                yield from _list_undeclared(values, (*above, name))
            is_limit = values in (int, float, bool) or get_origin(values) is list
            if is_limit and strictness.get_weaker(field) is None:
                yield ".".join((*above, name))


def test_each_number_and_list_of_the_gate_declares_beside_it_which_change_is_weaker() -> None:
    class Undeclared(Gate):
        """A gate with a rule whose author forgot to say so."""

        limit: float | None = None
        names: Annotated[list[str], Field(min_length=1)]

    assert list(dict.fromkeys(_list_undeclared(Gate))) == []
    assert list(dict.fromkeys(_list_undeclared(Undeclared))) == ["limit", "names"]


def test_without_a_lock_to_compare_with_there_is_no_change(git_repo: Git, lock: Lock) -> None:
    assert config_change.compare_with_champion(lock, None) is None
    git_repo("commit", "--quiet", "--allow-empty", "-m", "x")
    assert config_change.compare_with_champion(lock, None) is None
    assert config_change.compare_with_champion(lock, None, "no-such-branch") is None


@pytest.mark.parametrize("text", ["a: [", "a word", "- 1", ""])
def test_a_lock_that_is_none_is_told_with_its_commit(git_repo: Git, lock: Lock, text: str) -> None:
    artifacts.LOCK.write_text(text)
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--allow-empty", "-m", "x")
    with pytest.raises(MeritError, match=r"^params\.yaml at [0-9a-f]{7}: .*; name another commit$"):
        config_change.compare_with_champion(lock, None)
