"""The only module that uses private parts of MLflow."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def close_database(client: "MlflowClient") -> None:
    """Close the database connections of a client whose store is a database; MLflow has no public way."""
    client._tracking_client.store._dispose_engine()
