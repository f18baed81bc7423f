from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import config_change
from merit.gate.champion import Champion

Git = Callable[..., str]


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
        "dropped": None,
        "code": [],
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


def test_another_name_drops_the_model_whose_package_is_there(
    committed: str, git_repo: Git, lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    renamed = make_lock(lambda values: values.update(name="other"))
    unpackaged = config_change.compare_with_champion(renamed, None)
    assert unpackaged is not None
    assert unpackaged["dropped"] is None
    Path("dvc.lock").write_text("stages: {package: {outs: [{path: model, md5: " + "a" * 32 + ".dir}]}}\n")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "-m", "a package")
    found = config_change.compare_with_champion(renamed, None)
    assert found is not None
    assert (found["dropped"], [rule["key"] for rule in found["rules"]]) == ("tiny", ["name"])
    for same in (
        config_change.compare_with_champion(lock, None),
        config_change.compare_with_champion(renamed, Champion(committed, {})),
    ):
        assert same is not None
        assert same["dropped"] is None


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
