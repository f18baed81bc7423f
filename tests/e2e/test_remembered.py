"""A served process that asks for keys and remembers: who gets in, and what is left after an end and after a kill."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.endpoint import free_port

from merit import prediction_log
from merit.serving.auth import api_keys

ROOT = Path(__file__).resolve().parents[2]
ROW = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
BENTOML = str(Path(sys.executable).with_name("bentoml"))


class Served:
    """A process that serves the tiny package to those with keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        made = {role: api_keys.create_key(role, expires=None, quota=None, roles=(role,)) for role in api_keys.ROLES}
        self.keys = {role: key for role, (key, _) in made.items()}
        (folder / "keys.yaml").write_text(api_keys.render_keys(entry for _, entry in made.values()))
        log = {"folder": "log", "seconds": 0.5, "hashed": ["shop"]}
        told = {"port": self.port, "workers": 2, "auth": {"method": "keys", "keys": "keys.yaml"}, "log": log}
        environment = {
            **os.environ,
            "MERIT_PACKAGE": str(folder / "model"),
            "MERIT_SERVE": json.dumps(told),
            "MERIT_HASH_KEY": "k" * 32,
            "PYTHONPATH": str(ROOT / "src"),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "tmp").mkdir()
        self.environment = environment
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start BentoML's own server."""
        command = [BENTOML, "serve", "merit.serving.service:Predictor", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "said").open("wb") as said:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask(self, path: str, value: object = None, role: str | None = None) -> tuple[int, str, dict]:
        """Return the status, the request's id and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        shown = {} if role is None else {"x-api-key": self.keys[role]}
        try:
            body = None if value is None else json.dumps(value)
            connection.request("GET" if body is None else "POST", path, body, shown)
            answer = connection.getresponse()
            text = answer.read()
            told = json.loads(text) if "json" in (answer.getheader("content-type") or "") else {"text": text.decode()}
            return answer.status, answer.getheader("x-request-id") or "", told
        finally:
            connection.close()

    def begun(self) -> "Served":
        """Return it once it answers.

        BentoML draws ports for its own sockets, and another test may take one before it is bound: then start again.
        """
        for _ in range(300):
            try:
                if self.ask("/readyz")[0] == 200:
                    return self
            except OSError:
                if self.process.poll() is not None and "Address already in use" in (self.folder / "said").read_text():
                    self.process = self.start()
                time.sleep(0.1)
        pytest.fail("never ready: " + (self.folder / "said").read_text())

    def end(self) -> None:
        """End it as a supervisor does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=30)

    def workers(self) -> list[int]:
        """Return the processes that answer."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return sorted(int(pid) for pid in found.stdout.split())

    def predicted(self, stop: threading.Event) -> list[tuple[float, str]]:
        """Ask until told to stop; return when each answer came, and its id."""
        answered = []
        while not stop.is_set():
            try:
                status, request_id, _ = self.ask("/predict", [ROW, ROW], "predict")
            except (OSError, http.client.HTTPException):
                continue
            if status == 200:
                answered.append((time.time(), request_id))
        return answered


@pytest.fixture
def served(make_package: Callable[..., Path], tmp_path: Path) -> Iterator[Served]:
    make_package(tmp_path / "model")
    made = Served(tmp_path)
    try:
        yield made.begun()
    finally:
        made.end()


def test_whoever_has_a_key_is_answered_and_remembered(served: Served) -> None:
    for path, value in {"/predict": ROW, "/feedback": {}, "/metrics": None, "/": None, "/schema.json": None}.items():
        assert served.ask(path, value)[0] == 401, path
    assert [served.ask(path)[0] for path in ("/livez", "/readyz", "/healthz")] == [200, 200, 200]
    assert served.ask("/predict", ROW, "metrics")[0] == 403
    assert served.ask("/metrics", None, "predict")[0] == 403

    ids = [served.ask("/predict", [ROW, {**ROW, "shop": "south"}], "predict")[1] for _ in range(20)]
    status, _, told = served.ask("/feedback", {"request_id": ids[0], "row": 1, "truth": 1}, "feedback")
    assert (status, told) == (202, {"accepted": 1})
    status, _, told = served.ask("/feedback", [{"request_id": ids[0], "truth": 7}, {"truth": 1}], "feedback")
    assert status == 400
    assert "item 0" in json.dumps(told)
    assert "item 1" in json.dumps(told)
    assert 'route="/predict"' in served.ask("/metrics", None, "metrics")[2]["text"]
    served.end()

    found = prediction_log.read(served.folder / "log").collect()
    assert sorted(found["request_id"].unique()) == sorted(ids)
    assert found.height == 40
    assert set(found["caller"]) == {"predict"}
    assert "north" not in set(found["shop"])
    assert prediction_log.join_feedback(served.folder / "log").collect().select("row", "truth").rows() == [(1, 1)]
    said = (served.folder / "said").read_text()
    assert not any(key in said for key in served.keys.values())
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert {"started", "refused", "stopped"} <= {line["event"] for line in lines}
    refused = {
        (line["status"], line["route"], line["why"], line["caller"]) for line in lines if line["event"] == "refused"
    }
    assert {(401, "/predict", "none", ""), (403, "/predict", "role", "metrics")} <= refused
    assert {line["address"] for line in lines if line["event"] == "refused"} == {"127.0.0.1"}
    assert list((served.folder / "tmp").glob("merit-*")) == []


def test_a_killed_worker_loses_no_more_than_what_waited(served: Served) -> None:
    stop = threading.Event()
    answered: list[list[tuple[float, str]]] = []
    asking = [threading.Thread(target=lambda: answered.append(served.predicted(stop))) for _ in range(3)]
    for thread in asking:
        thread.start()
    time.sleep(4)
    at_kill = time.time()
    os.kill(served.workers()[-1], signal.SIGKILL)
    time.sleep(2)
    stop.set()
    for thread in asking:
        thread.join()
    served.end()
    found = prediction_log.read(served.folder / "log").collect()
    assert not found.select("request_id", "row").is_duplicated().any()
    known = set(found["request_id"])
    lost = sorted(at - at_kill for each in answered for at, request_id in each if request_id not in known)
    assert len(known) > 10
    # Half a second between one writing and the next, and what a busy machine adds.
    assert all(-2.5 < at < 0.5 for at in lost), (lost[0], lost[-1])
    assert any(at < at_kill - 2.5 for each in answered for at, _ in each)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "error: serve: 0.0.0.0 can be reached from other machines and serve.auth.method is none"),
        ({"auth": {"method": "keys", "keys": "nowhere.yaml"}}, "error: nowhere.yaml: can't be read"),
        (
            {"auth": {"method": "proxy"}, "log": {"folder": "l", "hashed": ["shop"]}},
            "error: MERIT_HASH_KEY: is not set",
        ),
    ],
)
def test_a_bento_that_may_not_start_says_why_in_a_line(
    make_package: Callable[..., Path], tmp_path: Path, told: dict, words: str
) -> None:
    environment = {
        **os.environ,
        "MERIT_PACKAGE": str(make_package(tmp_path / "model")),
        "MERIT_SERVE": json.dumps(told),
        "BENTOML_HOST": "0.0.0.0",  # noqa: S104
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import merit.serving.bento"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(words)
