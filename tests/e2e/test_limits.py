"""The limits of a served process: whoever is slow, endless, broken or too many, the others are served."""

import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.endpoint import free_port

ROOT = Path(__file__).resolve().parents[2]
BODY = json.dumps({"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}).encode()
SECONDS = 2
MOST_BYTES = 100_000
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


class Served:
    """A process that serves the tiny package."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def connect(self, seconds: float = 20.0) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def ask(self, path: str = "/predict", body: bytes | None = BODY) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Say whether it answers."""
        try:
            return self.ask("/readyz", None)[0] == 200
        except OSError:
            return False

    def workers(self) -> list[int]:
        """Return the processes that answer."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return sorted(int(pid) for pid in found.stdout.split())


@contextmanager
def _served(package: Path, **told: Any) -> Iterator[Served]:
    port = free_port()
    home = package.parent
    environment = {
        **os.environ,
        "MERIT_PACKAGE": str(package),
        "MERIT_SERVE": json.dumps({"port": port, "timeout_seconds": SECONDS, "max_bytes": MOST_BYTES, **told}),
        "PYTHONPATH": str(ROOT / "src"),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "HOME": str(home),
    }
    program = str(Path(sys.executable).with_name("bentoml"))
    command = [program, "serve", "merit.serving.service:Predictor", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    served = Served(port, process, home / "log")
    try:
        for _ in range(300):
            if served.is_ready():
                break
            time.sleep(0.1)
        else:
            pytest.fail("never ready: " + served.log.read_text())
        yield served
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def start(make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    with ExitStack() as running:

        def begin(**told: Any) -> Served:
            package = make_package(tmp_path_factory.mktemp("served") / "model")
            return running.enter_context(_served(package, **told))

        yield begin


@pytest.fixture(scope="module")
def served(start: Callable[..., Served]) -> Served:
    return start(max_concurrent=4)


@pytest.fixture(autouse=True)
def _still_served(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the same worker answers."""
    if "served" not in request.fixturenames:
        yield
        return
    served = request.getfixturevalue("served")
    before = served.workers()
    yield
    assert served.ask()[0] == 200
    assert served.workers() == before


def _connections() -> int:
    """Return 10,000, or as many as this machine lets two processes have."""
    return min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000)


def _until_closed(connection: socket.socket) -> tuple[bytes, float]:
    """Return what comes until the server closes, and the seconds that it takes."""
    began, found = time.monotonic(), b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found, time.monotonic() - began


def _status(found: bytes) -> int:
    told = re.match(rb"HTTP/1.1 (\d+) ", found)
    return int(told[1]) if told else 0


def test_a_client_that_sends_nothing_is_closed(served: Served) -> None:
    with served.connect() as silent:
        assert served.ask()[0] == 200
        found, seconds = _until_closed(silent)
    assert found == b""
    assert seconds < 3 * SECONDS


def test_a_head_that_drips_is_cut_off_and_the_others_are_served(served: Served) -> None:
    with served.connect() as slow:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe|aborted"):
            for letter in HEAD * 10:
                slow.sendall(bytes([letter]))
                time.sleep(0.1)
                assert served.ask()[0] == 200
        assert time.monotonic() - began < 3 * SECONDS


def test_a_head_without_end_is_cut_off(served: Served) -> None:
    with served.connect() as long:
        with pytest.raises(OSError, match=r"reset|pipe"):
            long.sendall(HEAD)
            for _ in range(20_000):
                long.sendall(b"x-more: " + b"x" * 1000 + b"\r\n")
        assert served.ask()[0] == 200


def test_a_body_that_stops_gets_408(served: Served) -> None:
    with served.connect() as slow:
        slow.sendall(HEAD + b"content-length: 100\r\n\r\n{")
        assert served.ask()[0] == 200
        found, seconds = _until_closed(slow)
    assert _status(found) == 408
    assert seconds < 2 * SECONDS


def test_a_body_that_never_ends_gets_413_and_is_cut_off(served: Served) -> None:
    chunk = b"%x\r\n%b\r\n" % (1000, b" " * 1000)
    with served.connect() as endless:
        endless.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(OSError, match=r"reset|pipe"):
            while sent < 100 * MOST_BYTES:
                endless.sendall(chunk)
                sent += 1000
    assert sent < 50 * MOST_BYTES  # what the kernel's buffers hold comes on top


def test_a_body_that_is_told_to_be_too_large_gets_413_at_once(served: Served) -> None:
    with served.connect() as large:
        large.sendall(HEAD + b"content-length: %d\r\n\r\n" % (MOST_BYTES + 1))
        assert _status(large.recv(65536)) == 413


def test_requests_past_the_bound_get_503_and_livez_goes_on(served: Served) -> None:
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(served.connect()).sendall(HEAD + b"content-length: 100\r\n\r\n{")
        time.sleep(0.2)
        assert served.ask()[0] == 503
        assert served.ask("/livez", None)[0] == 200


def test_whoever_asks_on_and_reads_no_answer_is_cut_off(served: Served) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(4 * SECONDS)
        deaf.connect(("127.0.0.1", served.port))
        with pytest.raises(OSError, match=r"reset|pipe"):
            for _ in range(200):
                deaf.sendall(asked * 50)
                time.sleep(0.05)
    assert served.ask()[0] == 200


def test_as_many_connections_as_allowed_are_kept_and_one_more_is_told(start: Callable[..., Served]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = _connections()
    served = start(max_connections=most, timeout_seconds=30)
    try:
        with ExitStack() as held:
            first = held.enter_context(served.connect())
            first.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(BODY))
            for _ in range(most - 1):
                held.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            found, _ = _until_closed(held.enter_context(served.connect()))
            first.sendall(BODY)
            assert _status(first.recv(65536)) == 200
        assert _status(found) == 503
        assert b"retry-after" in found
        assert served.ask()[0] == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_bytes_of_any_kind_never_break_it(served: Served) -> None:
    draw = random.Random(0)
    good = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    for _ in range(300):
        spoiled = bytearray(good)
        for _ in range(draw.choice([1, 3, 30])):
            spoiled[draw.randrange(len(spoiled))] = draw.randrange(256)
        with served.connect(0.5) as client:
            client.sendall(bytes(spoiled))
            client.shutdown(socket.SHUT_WR)
            try:
                found = client.recv(65536)
            except OSError:
                continue
            assert _status(found) < 500, bytes(spoiled)


def test_an_end_under_load_breaks_no_answer_and_workers_count_together(start: Callable[..., Served]) -> None:
    served = start(workers=2)
    wrong: list[str] = []
    counted = [0]

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        is_closing = False
        while not is_closing:
            try:
                connection.request("POST", "/predict", BODY)
                answer = connection.getresponse()
                is_closing = answer.will_close
                if answer.status != 200 or len(json.loads(answer.read())["predictions"]) != 1:
                    wrong.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                wrong.append(repr(error))
                return
            counted[0] += 1

    for _ in range(50):
        assert served.ask()[0] == 200
    time.sleep(1)
    for _ in range(3):
        text = served.ask("/metrics", None)[1].decode()
        assert re.search(r'merit_requests_total\{[^}]*route="/predict",status="200"\} 50\n', text), text
    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    served.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert served.process.wait(30) is not None
    assert wrong == []
    assert counted[0] > 50
