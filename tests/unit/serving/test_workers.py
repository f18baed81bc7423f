import importlib.util
import socket

import pytest

from merit.errors import MeritError
from merit.serving import workers


def test_bentoml_still_has_its_program_for_a_worker() -> None:
    assert importlib.util.find_spec(workers.WORKER) is not None


def test_an_address_that_was_taken_meanwhile_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MeritError, match=rf"^serve: 127\.0\.0\.1:{port} can't be used \(Address already in use\)$"):
            workers.run("127.0.0.1", port, 1)
