"""The repository with versions and environments that the tests of deploy/ have."""

from tests.unit.deploy.conftest import repository

__all__ = ["repository"]
