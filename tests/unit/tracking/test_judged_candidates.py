"""Judged candidates as tags of MLflow's experiment."""

from types import SimpleNamespace
from typing import Any

import pytest

from merit.config.schema import Lock
from merit.mlflow import judged_candidates, store
from merit.mlflow.judged_candidates import Judgement

ROWS, PACKAGE = "sha256:" + "a" * 64, "b" * 32 + ".dir"


class Client:
    """A client whose store has one experiment, or none."""

    tags: dict[str, str] | None = None

    def get_experiment_by_name(self, name: str) -> Any:
        return None if self.tags is None else SimpleNamespace(experiment_id="1", tags=self.tags)

    def create_experiment(self, name: str, **_: Any) -> str:
        self.tags = {}
        return "1"

    def set_experiment_tag(self, experiment: str, name: str, value: str) -> None:
        assert self.tags is not None
        self.tags[name] = value


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(store, "open_store", lambda _: made)
    return made


def test_what_is_recorded_is_read_for_the_same_test_rows_alone(lock: Lock, client: Client) -> None:
    assert judged_candidates.read_judgements(lock.tracking, ROWS) == {}
    assert client.tags is None
    first = Judgement(judged_candidates.format_now(), "fail")
    judged_candidates.record_judgement(lock.tracking, ROWS, PACKAGE, first)
    judged_candidates.record_judgement(lock.tracking, "md5:" + "c" * 32, PACKAGE, first)
    assert judged_candidates.read_judgements(lock.tracking, ROWS) == {"b" * 32: first}
    judged_candidates.record_judgement(lock.tracking, ROWS, PACKAGE, Judgement(first.time, "pass"))
    assert judged_candidates.read_judgements(lock.tracking, ROWS) == {"b" * 32: Judgement(first.time, "pass")}


def test_a_tag_that_somebody_else_wrote_is_no_judgement(lock: Lock, client: Client) -> None:
    prefix = f"merit.judged.{'a' * 32}."
    client.tags = {f"{prefix}x": "", f"{prefix}y": "2026-01-01T00:00:00 pass", "mlflow.note": "a note"}
    assert list(judged_candidates.read_judgements(lock.tracking, ROWS)) == ["y"]
