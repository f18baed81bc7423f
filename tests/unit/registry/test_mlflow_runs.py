"""What a version's run in MLflow is described by, and which answers of a store mean that a folder is not there."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from merit import git
from merit.registry import mlflow_runs
from merit.registry.tags import Version

VERSION = Version("tiny", 3, "c" * 40, None, "Ada", datetime(2024, 2, 1, 12, tzinfo=UTC))  # type: ignore[arg-type]


@pytest.mark.parametrize("params", [None, "", "[", "5", "name: tiny\n", "data: {}\nmodel: {_target_: x.Linear}\n"])
def test_a_version_whose_params_can_not_be_read_is_described_by_its_name(
    monkeypatch: pytest.MonkeyPatch, params: str | None
) -> None:
    monkeypatch.setattr(git, "read_file", lambda commit, path: params)
    assert mlflow_runs.describe_version(VERSION) == ("tiny@v3", [])


def test_the_times_of_a_run_are_the_tags_in_milliseconds() -> None:
    assert mlflow_runs._timestamp_ms(VERSION) == 1_706_788_800_000


@pytest.mark.parametrize(
    ("code", "is_missing"), [(RESOURCE_DOES_NOT_EXIST, True), (INVALID_PARAMETER_VALUE, True), (INTERNAL_ERROR, False)]
)
def test_a_store_that_fails_is_not_taken_for_one_that_lacks_the_folder(code: int, is_missing: bool) -> None:
    def list_artifacts(run_id: str, folder: str) -> list[Any]:
        raise MlflowException("no", code)

    client: Any = SimpleNamespace(list_artifacts=list_artifacts)
    if is_missing:
        assert mlflow_runs._list_sizes(client, "run", "model") == {}
    else:
        with pytest.raises(MlflowException):
            mlflow_runs._list_sizes(client, "run", "model")
