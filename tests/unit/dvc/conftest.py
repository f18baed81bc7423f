from collections.abc import Callable

import pytest

from tests.support import planted_outputs
from tests.support.planted_outputs import Planted


@pytest.fixture
def planted(git_repo: Callable[..., str]) -> Planted:
    """A project in the folder that the test runs in, with a remote, and nothing in either."""
    return planted_outputs.make(git_repo)
