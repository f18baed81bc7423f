"""What MLflow's aliases are: asked once while its store stays the same, and asked again where that was not kept."""

import json
from pathlib import Path

import pytest

from merit.deploy import mlflow_alias
from merit.deploy.mlflow_alias import Alias

RECEIPT = Path(".merit/environments/staging.alias.json")


@pytest.fixture
def asked(workdir, monkeypatch):
    """An SQLite store, and how often it was asked."""
    Path("mlflow.db").write_text("x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    times: list[str] = []

    def answer(lock, name, wanted):
        times.append(name)
        return Alias("tiny@v1", None, "1")

    monkeypatch.setattr(mlflow_alias, "_query_alias", answer)
    return times


def test_while_the_store_stays_the_same_it_is_asked_once(asked, lock):
    found = [mlflow_alias.read_alias(lock, "staging", "tiny@v1") for _ in range(2)]
    assert found == [Alias("tiny@v1", None, "1")] * 2
    assert asked == ["staging"]


@pytest.mark.parametrize("text", ["x", "", "[]", "{}", "5", "null", "[" * 100_000, b"\xe9", "wrong types"])
def test_what_was_kept_in_another_form_is_asked_again(asked, lock, text):
    mlflow_alias.read_alias(lock, "staging", "tiny@v1")
    if text == "wrong types":
        text = json.dumps(json.loads(RECEIPT.read_text()) | {"now": 5})
    RECEIPT.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert mlflow_alias.read_alias(lock, "staging", "tiny@v1") == Alias("tiny@v1", None, "1")
    assert asked == ["staging", "staging"]


def test_where_nothing_can_be_written_nothing_is_kept(asked, lock):
    Path(".merit").write_text("no folder")
    assert [mlflow_alias.read_alias(lock, "staging", "tiny@v1").current for _ in range(2)] == ["tiny@v1"] * 2
    assert asked == ["staging", "staging"]


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-wal", "mlflow.db-journal"])
def test_a_store_that_changed_is_asked_again(asked, lock, name):
    mlflow_alias.read_alias(lock, "staging", "tiny@v1")
    Path(name).write_text("more")
    for _ in range(2):
        mlflow_alias.read_alias(lock, "staging", "tiny@v1")
    assert asked == ["staging", "staging"]


def test_another_version_and_another_environment_are_asked_for_again(asked, lock):
    for name, version in [("staging", "tiny@v1"), ("staging", "tiny@v2"), ("production", "tiny@v2"), ("staging", None)]:
        mlflow_alias.read_alias(lock, name, version)
    assert asked == ["staging", "staging", "production", "staging"]


def test_an_answer_of_a_store_that_changed_meanwhile_is_not_kept(asked, lock, monkeypatch):
    answer = mlflow_alias._query_alias

    def change(lock, name, wanted):
        Path("mlflow.db").write_text("x" * (len(asked) + 2))
        return answer(lock, name, wanted)

    monkeypatch.setattr(mlflow_alias, "_query_alias", change)
    mlflow_alias.read_alias(lock, "staging", "tiny@v1")
    assert not RECEIPT.exists()


def test_without_a_store_only_a_declared_version_is_a_problem(asked, lock):
    Path("mlflow.db").unlink()
    found = mlflow_alias.read_alias(lock, "staging", "tiny@v1")
    assert found == Alias(None, "MLflow is empty; 'merit registry rebuild' brings MLflow up to what Git says")
    assert mlflow_alias.read_alias(lock, "staging", None) == Alias(None)
    assert asked == []
