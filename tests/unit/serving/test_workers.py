import importlib.util
import socket
import subprocess
import sys

import pytest

from merit.errors import MeritError
from merit.serving import workers
from tests.endpoint import free_port


def test_bentoml_still_has_its_program_for_a_worker() -> None:
    assert importlib.util.find_spec(workers.WORKER) is not None


def test_an_address_that_was_taken_meanwhile_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MeritError, match=rf"^serve: 127\.0\.0\.1:{port} can't be used \(Address already in use\)$"):
            workers.run("127.0.0.1", port, 1)


def test_a_worker_that_can_not_be_started_ends_the_rest_and_is_told() -> None:
    code = """
import sys
from merit.serving import workers
from tests.endpoint import free_port

def no_process(*args, **named):
    raise OSError(11, "Resource temporarily unavailable")

workers.Workers._process_class = no_process
workers.main("127.0.0.1", sys.argv[1], "2")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(free_port())], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    *before, last = done.stderr.splitlines()
    assert last == "error: serve: a worker can't be started (above is why), so all have ended"
    assert "Resource temporarily unavailable" in before[-1]
