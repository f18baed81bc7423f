import errno
import io
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.scoring import Package
from merit.serving import helper, settings
from merit.serving.answers import Answers
from merit.serving.auth import Refusal
from merit.serving.rows import BadRows
from merit.serving.tables import Tables

HALF = np.array([0.5], dtype=np.float32)
GONE = "tables can't be read or written at the moment; come again, or send and accept JSON"


@pytest.fixture
def make(workdir: Path, make_package: Callable[..., Path]) -> Callable[..., Tables]:
    package = Package.load(make_package(Path("model")))
    return lambda seconds=20: Tables(Answers(package, "4", 5), settings.Settings(timeout_seconds=seconds))


def _parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame([{"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}]).write_parquet(file)
    return file.getvalue()


def _helper(monkeypatch: pytest.MonkeyPatch, *lines: str, greets: bool = True) -> None:
    """Put a program in the helper's place that greets, notes its start in `starts` and then does what it is told."""
    hello = "os.write(1, bytes(8))" if greets else ""
    code = ["import os, sys, time", "print(file=open('starts', 'a'))", hello, *lines]
    Path("helper.py").write_text("\n".join(code))
    monkeypatch.setattr(helper, "SCRIPT", Path("helper.py"))


def _starts() -> int:
    return len(Path("starts").read_text())


def _refusal(work: Callable[[], Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        work()
    assert (caught.value.status, caught.value.error, caught.value.headers) == (503, GONE, [(b"retry-after", b"1")])
    return caught.value


def test_a_helper_that_somebody_killed_while_it_read_costs_no_request(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = str(helper.SCRIPT)
    kill = f"os.read(0, 8), os.kill(os.getpid(), {signal.SIGKILL})"
    _helper(
        monkeypatch,
        "if os.path.getsize('starts') == 1:",
        f"    {kill}",
        f"source = open({real!r}).read().replace('answers.write(bytes(8))', '')",
        "exec(compile(source, 'decoder.py', 'exec'), {'__name__': '__main__'})",
    )
    tables = make()
    assert tables.columns(_parquet(), "parquet")["shop"].tolist() == ["north"]
    tables.close()
    Path("starts").unlink()
    assert pl.read_ipc_stream(tables.encoded(HALF))["prediction"].to_list() == [0.5]
    tables.close()


def test_a_table_that_ends_the_helper_twice_is_told_as_broken(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "os.read(0, 8)", "os.abort()")
    with pytest.raises(BadRows, match="can't be read as parquet: broken, or it takes more memory or time"):
        make().columns(_parquet(), "parquet")
    assert _starts() == 2


def test_a_table_that_takes_too_long_is_tried_once(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "time.sleep(60)")
    with pytest.raises(BadRows, match="more memory or time than there is"):
        make(1.5).columns(_parquet(), "parquet")
    assert _starts() == 1


def test_an_answer_that_can_not_be_written_as_a_table_is_not_the_fault_of_who_asked(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "os.read(0, 8)", "os.abort()")
    assert _refusal(lambda: make().encoded(HALF)).why == f"the helper for tables failed: exit code -{signal.SIGABRT:d}"


def test_a_helper_that_ends_before_it_has_begun_is_not_the_fault_of_the_table(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "sys.exit(3)", greets=False)
    assert "at its start, exit code 3" in _refusal(lambda: make().columns(_parquet(), "parquet")).why


def test_where_no_helper_can_be_started_who_asks_is_to_come_again(
    make: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "Popen", fails)
    told = _refusal(lambda: make().columns(_parquet(), "parquet"))
    assert told.why == "the helper for tables failed: Too many open files"
    _refusal(lambda: make().encoded(HALF))
