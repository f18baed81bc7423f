import json
import os
import time

import pytest

from merit.console.json_log import RateLimitedLogger


def _told(capfd: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_line_says_when_and_of_what(capfd: pytest.CaptureFixture[str]) -> None:
    RateLimitedLogger(model="tiny").log("started", port=3000)
    (line,) = _told(capfd)
    assert line.pop("pid") > 0
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "event": "started", "model": "tiny", "port": 3000}


def test_of_one_kind_only_so_many_are_written_in_a_minute(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = RateLimitedLogger(max_per_minute=2)
    for _ in range(5):
        lines.log("refused", "401")
    lines.log("refused", "429")
    assert len(_told(capfd)) == 3
    now = 60.0
    lines.log("refused", "401")
    (line,) = _told(capfd)
    assert line["left_out"] == 3


def test_a_request_has_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    RateLimitedLogger().log_request("abc", "/predict", 200, seconds=0.0012345, rows=3, caller="shop")
    (line,) = _told(capfd)
    told = {name: line[name] for name in ("event", "request_id", "route", "status", "ms", "rows", "caller")}
    assert told == {
        "event": "answered", "request_id": "abc", "route": "/predict", "status": 200, "ms": 1.234, "rows": 3,
        "caller": "shop",
    }  # fmt: skip


def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    lines = RateLimitedLogger(max_per_minute=10**6)
    with os.fdopen(reads, "rb", buffering=0) as reader, os.fdopen(writes, "w", encoding="utf-8") as pipe:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stderr", pipe)
            for _ in range(2000):  # more than a pipe holds
                lines.log("refused", why="x" * 100)
            held = reader.read(2**20)
            lines.log("stopped")
        assert held.count(b"\n") < 2000
        assert held.endswith(b"\n")
        assert json.loads(reader.read(2**20))["event"] == "stopped"


def test_where_nobody_reads_nothing_breaks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Closed:
        def fileno(self) -> int:
            raise ValueError

    lines = RateLimitedLogger()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", Closed())
        lines.log("started")
    lines.log("stopped")
    assert [line["event"] for line in _told(capfd)][-1] == "stopped"
