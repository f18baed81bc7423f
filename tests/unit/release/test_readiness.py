"""Starting an image once: for the engine stands a program that starts a small server, or none."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from merit.errors import Refused
from merit.registry.tags import Lineage, Version
from merit.release import readiness
from merit.release.engine import Engine

PROGRAM = """#!{python}
import os, signal, subprocess, sys
port = next((each[5:] for each in sys.argv if each.startswith("PORT=")), "")
if sys.argv[1] == "run":
    if {refuses}:
        sys.exit("no runtime here")
    quiet = subprocess.DEVNULL
    served = subprocess.Popen([{python!r}, {server!r}, port, {version!r}], stdout=quiet, stderr=quiet)
    print(served.pid)
elif sys.argv[1] == "inspect":
    print("false" if {dies} else "true")
elif sys.argv[1] == "logs":
    print("what it said", file=sys.stderr)
elif sys.argv[1] == "rm":
    os.kill(int(sys.argv[-1]), signal.SIGKILL)
    open({removed!r}, "w").close()
"""
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"version": sys.argv[2]}).encode())
    def log_message(self, *args): pass
if sys.argv[2] == "mute":
    import time; time.sleep(60)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
LINEAGE = {
    "commit": "c",
    "package": "sha256:" + "0" * 64,
    "dvc": "0" * 32 + ".dir",
    "params": "p",
    "data": "d",
    "data_fingerprint": "f",
}
MORE = {"verdict": "pass", "checks": 1, "waived": [], "metrics": {}, "run": None, "signature": None}
VERSION = Version("tiny", 3, "c", Lineage.model_validate({**LINEAGE, **MORE}), "t", datetime(2026, 1, 1, tzinfo=UTC))
Start = Callable[..., float | str]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Measure an image that answers as a version, or not at all."""

    def measure(version: str, *, refuses: bool = False, dies: bool = False) -> float | str:
        server, program = tmp_path / "server.py", tmp_path / "podman"
        server.write_text(SERVER)
        told = {"python": sys.executable, "server": str(server), "version": version, "removed": str(tmp_path / "gone")}
        program.write_text(PROGRAM.format(**told, refuses=refuses, dies=dies))
        program.chmod(0o755)
        (tmp_path / "package").mkdir()
        (tmp_path / "package/signature.json").write_text(json.dumps({"example": {"a": 1}}))
        monkeypatch.setenv("PATH", str(tmp_path))
        return readiness.measure_start(Engine("podman"), "image", VERSION, tmp_path / "package")

    return measure


def test_the_seconds_to_ready_are_measured_and_nothing_is_left(start: Start, tmp_path: Path) -> None:
    found = start("v3")
    assert isinstance(found, float)
    assert 0 < found < 30
    assert (tmp_path / "gone").exists()


def test_an_image_that_answers_as_another_version_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"answers as version 'v2', but it is of tiny@v3"):
        start("v2")
    assert (tmp_path / "gone").exists()


def test_an_image_that_ends_at_once_is_refused_with_what_it_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CHECK_INTERVAL_S", 0.0)
    with pytest.raises(Refused, match="does not get ready: what it said"):
        start("mute", dies=True)


def test_an_engine_that_can_not_run_here_is_no_fault_of_the_image(start: Start) -> None:
    assert start("v3", refuses=True) == "not started: 'podman run' failed: no runtime here"
