"""A package is one candidate in MLflow, however often `merit run` makes it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

from merit import artifacts
from merit.config.schema import Lock
from merit.registry import mlflow_candidates


class Client:
    """As much of MLflow's client as finds a candidate: three versions, two of them of the package sha256:1."""

    error = RESOURCE_ALREADY_EXISTS

    def create_registered_model(self, name: str) -> None:
        """Fail, for the model is there already, or as a test wants."""
        assert name == "tiny"
        raise MlflowException("no", self.error)

    def search_model_versions(self, query: str) -> list[Any]:
        """Return the versions of the model."""
        assert query == "name = 'tiny'"
        packages = {"10": "sha256:1", "9": "sha256:1", "1": "sha256:2"}
        return [SimpleNamespace(version=number, tags={"merit.package": each}) for number, each in packages.items()]


def test_a_package_that_has_versions_is_the_first_of_them(lock: Lock) -> None:
    client: Any = Client()
    assert mlflow_candidates._find_or_create(client, lock, "run", "sha256:1") == "9"
    assert mlflow_candidates._find_or_create(client, lock, "run", "sha256:2") == "1"


def test_a_package_that_was_trained_before_the_first_commit_names_none(
    lock: Lock, workdir: Path, make_package: Callable[..., Path]
) -> None:
    make_package(artifacts.PACKAGE)
    assert mlflow_candidates._build_tags(lock, "sha256:1")["merit.commit"] == "none yet"


def test_a_store_that_fails_is_not_taken_for_one_that_has_the_model(lock: Lock) -> None:
    client: Any = Client()
    client.error = INTERNAL_ERROR
    with pytest.raises(MlflowException):
        mlflow_candidates._find_or_create(client, lock, "run", "sha256:1")
