"""What MLflow's aliases are: asked once while its store stays the same, and asked again where that was not kept."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST

from merit.deploy import mlflow_alias
from merit.deploy.mlflow_alias import Alias
from merit.errors import MeritError
from merit.mlflow import store

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


class Client:
    """As much of MLflow's client as aliases need: the versions 1 and 2, of which Git has a tag of the first."""

    def __init__(self) -> None:
        self.aliases = {"staging": 1, "production": 2}
        self.versions = {"1": {"merit.version": "tiny@v7"}, "2": {}}
        self.error: int | None = None

    def get_registered_model(self, name):
        """Return the aliases of the model tiny, or fail as a test wants."""
        if self.error is not None:
            raise MlflowException("no answer", self.error)
        assert name == "tiny"
        return SimpleNamespace(aliases=self.aliases)

    def get_model_version(self, name, number):
        """Return the tags of a version."""
        return SimpleNamespace(tags=self.versions[number])

    def search_model_versions(self, query):
        """Return the versions whose tag the query names."""
        names = {number: f"name = 'tiny' and tags.`merit.version` = '{each.get('merit.version')}'"
                 for number, each in self.versions.items()}  # fmt: skip
        return [SimpleNamespace(version=int(number)) for number, each in names.items() if each == query]

    def set_registered_model_alias(self, name, alias, number):
        """Set an alias."""
        self.aliases[alias] = (name, number)

    def delete_registered_model_alias(self, name, alias):
        """Delete an alias."""
        assert name == "tiny"
        del self.aliases[alias]


@pytest.fixture
def client(workdir, monkeypatch):
    """The client of a store that is a server, which the answer of an alias is not kept of."""
    made = Client()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(store, "open_store", lambda _: made)
    return made


@pytest.mark.parametrize(
    ("name", "declared_version", "alias"),
    [
        ("staging", "tiny@v7", Alias("tiny@v7", None, "1")),
        ("staging", None, Alias("tiny@v7")),
        ("production", "tiny@v7", Alias("MLflow's version 2, which Git has no tag of", None, "1")),
        ("elsewhere", "tiny@v7", Alias(None, None, "1")),
        ("elsewhere", None, Alias(None)),
        ("staging", "tiny@v8", Alias("tiny@v7", f"MLflow has no tiny@v8; {mlflow_alias.REBUILD_HINT}")),
    ],
)
def test_an_alias_is_read_with_the_version_that_it_should_point_to(client, lock, name, declared_version, alias):
    assert mlflow_alias.read_alias(lock, name, declared_version) == alias
    assert not RECEIPT.exists()


def test_a_model_that_mlflow_does_not_know_is_a_problem_where_a_version_is_declared(client, lock):
    client.error = RESOURCE_DOES_NOT_EXIST
    problem = f"MLflow has no tiny; {mlflow_alias.REBUILD_HINT}"
    assert mlflow_alias.read_alias(lock, "staging", "tiny@v7") == Alias(None, problem)
    assert mlflow_alias.read_alias(lock, "staging", None) == Alias(None)


def test_a_store_that_fails_is_a_problem_and_no_empty_one(client, lock):
    client.error = INTERNAL_ERROR
    found = mlflow_alias.read_alias(lock, "staging", None)
    assert (found.current, found.mlflow_version) == (None, None)
    assert found.problem.startswith("MLflow can't be asked (tracking.uri 'http://127.0.0.1:9': can't be used (")


def test_an_alias_is_set_to_mlflows_number_or_deleted_where_nothing_is_declared(client, lock, monkeypatch):
    mlflow_alias.write_alias(lock, "staging", "tiny@v7", Alias(None, None, "1"))
    mlflow_alias.write_alias(lock, "production", None, Alias("tiny@v7", None, "1"))
    assert client.aliases == {"staging": ("tiny", "1")}
    mlflow_alias.write_alias(lock, "production", "tiny@v8", Alias(None, "MLflow has no tiny@v8"))
    assert client.aliases == {"staging": ("tiny", "1")}

    def fail(*_):
        raise MlflowException("no answer", INTERNAL_ERROR)

    monkeypatch.setattr(client, "delete_registered_model_alias", fail)
    with pytest.raises(MeritError, match=r"^tracking\.uri 'http://127\.0\.0\.1:9': can't be used "):
        mlflow_alias.write_alias(lock, "staging", None, Alias(None))
