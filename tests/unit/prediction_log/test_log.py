import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import prediction_log
from merit.errors import MeritError
from merit.prediction_log import buffered_writer as keeper_module
from merit.prediction_log import files as files_module
from merit.prediction_log import log as predictionlog
from merit.prediction_log import log_client, writer_process
from merit.prediction_log.buffered_writer import BufferedWriter
from merit.prediction_log.files import LogFiles, list_files
from merit.prediction_log.prediction_tables import PredictionTables
from merit.prediction_log.privacy import PrivacyFilter
from merit.prediction_log.protocol import WriterTask
from merit.scoring.package import Package
from merit.serving import settings
from tests.support.writers import Thread

ROW = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
HALF = np.array([0.5], dtype=np.float32)
WHEN = datetime.now(UTC).replace(hour=14, minute=30, second=0, microsecond=0) - timedelta(days=1)
AT = WHEN.timestamp()


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Package:
    return Package.load(make_package(Path("model")))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_client, writer_process):
        monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(log_client, "start_process", Thread)


def _log(package: Package, **more: Any) -> predictionlog.Log:
    told = {"folder": "log", "seconds": 0.02, **more}
    return predictionlog.create_log(settings.PredictionLog(**told), package, "v3", "w1")


def _put(log: predictionlog.Log, *rows: dict[str, Any], name: str = "a", at: float = AT, who: str = "") -> None:
    body = json.dumps(rows[0] if len(rows) == 1 else rows).encode()
    log.put(name, at, body, None, np.full(len(rows), 0.5, dtype=np.float32), who)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _told(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_what_was_answered_is_read_back_with_where_it_comes_from(package: Package) -> None:
    log = _log(package)
    _put(log, ROW, name="one", who="shop")
    _put(log, ROW, {**ROW, "shop": "south", "size": None}, name="two")
    log.close()
    found = prediction_log.read(Path("log")).sort("request_id", "row").collect()
    assert found.columns == [
        "request_id", "row", "time", "caller", "shop", "kind", "size", "weight", "prediction", "model", "version",
        "commit",
    ]  # fmt: skip
    assert found["request_id"].to_list() == ["one", "two", "two"]
    assert found["row"].to_list() == [0, 0, 1]
    assert found["caller"].to_list() == ["shop", "", ""]
    assert found["size"].to_list() == [50.0, 50.0, None]
    assert found["time"][0] == WHEN
    assert found.row(0)[-4:] == (0.5, "tiny", "v3", "c" * 40)
    assert (log.written, log.waiting, log.dropped, log.failed) == (3, 0, 0, 0)
    (file,) = Path("log").rglob("*.parquet")
    assert file.parent == Path(f"log/date={WHEN:%Y-%m-%d}/hour=14")


def test_what_came_as_columns_is_kept_like_what_came_as_json(package: Package) -> None:
    log = _log(package)
    columns = {
        "shop": np.array(["north", "south"], dtype=object),
        "kind": np.array([2.0, 3.0]),
        "size": np.array([50.0, np.nan]),
        "weight": np.array([0.5, 0.25]),
    }
    log.put("table", AT, None, columns, np.array([0.5, 0.25], dtype=np.float32), "")
    _put(log, ROW, name="json")
    log.close()
    found = prediction_log.read(Path("log")).sort("request_id", "row", descending=[True, False]).collect()
    assert found.schema["kind"] == pl.Int64
    assert found["size"].to_list() == [50.0, None, 50.0]
    assert found.drop("request_id").row(0) == found.drop("request_id").row(2)


@pytest.mark.parametrize(
    "body",
    [
        b'{"shop": "north", "kind": 2, "size": 50, "weight": 0.5}',
        b'\n {"shop":\n"north",\r\n"kind":2,"size":5e1,"weight":0.5}\n',
        b'{"shop": "x", "kind": 2, "size": 50.0, "weight": 0.5, "shop": "north"}',
        b'[{"weight": 0.5, "size": 50, "kind": 2, "shop": "\\u006eorth"}]',
        b' [ {"shop": "north", "kind": 2,\n "size": 50, "weight": 0.5} ] ',
    ],
)
def test_json_is_kept_as_the_endpoint_has_read_it(package: Package, body: bytes) -> None:
    log = _log(package)
    log.put("a", AT, body, None, HALF, "")
    log.close()
    found = prediction_log.read(Path("log")).collect()
    assert found.select("shop", "kind", "size", "weight").row(0) == ("north", 2, 50.0, 0.5)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"shop": "north", "kind": 2, "weight": 0.5, "kind": 3}', id="one left out"),
        pytest.param(b'{"shop": "a:b", "kind": 2, "weight": 0.5, "shop": "north", "kind": 3}', id="a colon"),
        pytest.param(b'{"shop": "north", "kind": 2, "weight": 0.5, "k\\u0069nd": 3}', id="an escape"),
        pytest.param(b'{"shop": "north", "size": 5, "kind": 3, "weight": 0.5, "size": null}', id="a null"),
        pytest.param(b'[{"shop": "north", "kind": 2, "weight": 0.5, "kind": 3}]', id="an array"),
    ],
)
def test_of_a_key_that_stands_twice_the_last_is_kept(package: Package, body: bytes) -> None:
    log = _log(package)
    log.put("a", AT, body, None, HALF, "")
    _put(log, ROW, name="b")
    log.close()
    found = prediction_log.read(Path("log")).sort("request_id").collect()
    assert found.select("shop", "kind", "size", "weight").row(0) == ("north", 3, None, 0.5)
    assert found["kind"].to_list() == [3, 2]


def test_of_texts_with_colons_and_line_breaks_nothing_is_lost(package: Package) -> None:
    log = _log(package)
    texts = ["a: b, c: d, e: f: g", 'q"}\n{"shop": 1', "ü😀\x00", ""]
    for text in texts:
        _put(log, {**ROW, "shop": text})
    log.close()
    assert set(prediction_log.read(Path("log")).collect()["shop"]) == set(texts)


def test_an_integer_past_64_bits_loses_nothing_else(package: Package) -> None:
    log = _log(package)
    _put(log, {**ROW, "kind": 2**70})
    _put(log, ROW)
    log.close()
    assert prediction_log.read(Path("log")).collect()["kind"].sort().to_list() == [None, 2]


def test_an_integer_past_64_bits_in_a_table_loses_nothing_else(package: Package) -> None:
    log = _log(package)
    columns = {
        "shop": np.array(["north", "south"], dtype=object),
        "kind": np.array([float(2**64 - 1), 3.0]),
        "size": np.array([50.0, 50.0]),
        "weight": np.array([0.5, 0.25]),
    }
    log.put("table", AT, None, columns, np.array([0.5, 0.25], dtype=np.float32), "")
    log.close()
    assert prediction_log.read(Path("log")).sort("row").collect()["kind"].to_list() == [None, 3]
    assert (log.written, log.failed) == (2, 0)


def test_columns_of_every_type_are_kept() -> None:
    inputs: list[dict[str, Any]] = [
        {"name": "when", "type": "datetime", "nullable": True},
        {"name": "image", "type": "array", "nullable": False, "shape": [2, 2]},
        {"name": "on", "type": "boolean", "nullable": True},
        {"name": "row", "type": "integer", "nullable": False},
    ]
    output = {"name": "prediction", "task": "multiclass", "classes": ["a", "b"]}
    origin = {"model": "wide", "version": "v1", "commit": "c"}
    told = settings.PredictionLog()
    tables = PredictionTables(WriterTask("predictions", told, "w", inputs, output, origin), PrivacyFilter(told, []))
    found = np.array([[0.25, 0.75]], dtype=np.float32).tobytes()
    image = [[1, 2], [3, 4]]
    bodies = [
        {"when": "2024-01-31T15:30:00", "image": image, "on": True, "row": 5},
        {"when": "2024-01-31T15:30:00.250000", "image": image, "on": None, "row": 5},
        {"when": "2024-01-31 15:30", "image": image, "on": None, "row": 5},
        {"image": image, "row": 5},
    ]
    columns = {
        "when": np.array([datetime(2024, 1, 31, 15, 30, tzinfo=UTC).timestamp()]),
        "image": np.array([image], dtype=np.float64),
        "on": np.array([np.nan]),
        "row": np.array([5.0]),
    }
    made = tables.build_table(
        [(1, "a", AT, json.dumps(each).encode(), None, found, "") for each in bodies]
        + [(1, "b", AT, None, columns, found, "")]
    )
    assert made["when"].sort().to_list() == [
        None, *[datetime(2024, 1, 31, 15, 30)] * 3, datetime(2024, 1, 31, 15, 30, 0, 250000),
    ]  # fmt: skip
    assert made["image"].to_list() == [[[1.0, 2.0], [3.0, 4.0]]] * 5
    assert made["on"].drop_nulls().to_list() == [True]
    assert made["input_row"].to_list() == [5] * 5
    assert made["prediction"].to_list() == ["b"] * 5
    assert made["probabilities"].to_list() == [[0.25, 0.75]] * 5


def test_columns_are_left_out_or_hashed(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_HASH_KEY", "k" * 32)
    log = _log(package, leave_out=["weight"], hashed=["shop", "size"])
    _put(log, ROW, {**ROW, "size": None})
    log.close()
    found = prediction_log.read(Path("log")).sort("row").collect()
    assert "weight" not in found.columns
    assert found["shop"][0] == hmac.digest(b"k" * 32, b"north", "sha256").hex()
    assert found["size"].to_list() == [hmac.digest(b"k" * 32, b"50.0", "sha256").hex(), None]
    raw = b"".join(path.read_bytes() for path in Path("log").rglob("*.parquet"))
    assert b"north" not in raw


@pytest.mark.parametrize(
    ("told", "key", "words"),
    [
        (
            {"leave_out": ["shpo"]},
            "k" * 32,
            r"serve\.log\.leave_out: unknown column 'shpo'; did you mean 'shop'\? columns:",
        ),
        ({"hashed": ["zzz"]}, "k" * 32, r"serve\.log\.hashed: unknown column 'zzz'; columns: shop, kind"),
        ({"hashed": ["shop"], "leave_out": ["shop"]}, "k" * 32, "'shop' is under leave_out and under hashed"),
        ({"hashed": ["shop"]}, "", "MERIT_HASH_KEY: is not set and needs 16 bytes, for serve.log.hashed names columns"),
        ({"hashed": ["shop"]}, "short", "MERIT_HASH_KEY: has 5 bytes and needs 16, for"),
    ],
)
def test_what_can_not_be_kept_private_keeps_it_from_starting(
    package: Package, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], key: str, words: str
) -> None:
    monkeypatch.setenv("MERIT_HASH_KEY", key)
    with pytest.raises(MeritError, match=words):
        _log(package, **told)


def test_all_that_can_not_be_kept_private_is_told_at_once(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MERIT_HASH_KEY", raising=False)
    with pytest.raises(MeritError) as caught:
        _log(package, leave_out=["name", "size"], hashed=["customer", "other", "size"])
    assert [line.partition(";")[0] for line in str(caught.value).splitlines()] == [
        "serve.log.leave_out: unknown column 'name'",
        "serve.log.hashed: unknown columns 'customer', 'other'",
        "serve.log: 'size' is under leave_out and under hashed",
        "MERIT_HASH_KEY: is not set and needs 16 bytes, for serve.log.hashed names columns",
    ]


def test_a_full_queue_drops_and_counts(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Event()
    monkeypatch.setattr(log_client.LogClient, "start", lambda _: begin.set())
    log = _log(package, queue=2)
    for _ in range(4):
        _put(log, ROW, ROW)
    assert begin.is_set()
    assert (log.waiting, log.dropped) == (4, 4)


def test_bytes_that_wait_are_bounded_too(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_client, "MAX_QUEUE_BYTES", 1000)
    monkeypatch.setattr(log_client.LogClient, "start", lambda _: None)
    log = _log(package)
    for _ in range(5):
        _put(log, {**ROW, "shop": "x" * 300})
    assert (log.waiting, log.dropped) == (3, 2)


def test_few_entries_wait_for_others_to_be_made_a_table_with(workdir: Path) -> None:
    def build(entries: Any) -> pl.DataFrame:
        made.append(len(entries))
        return _table(len(entries), WHEN)

    made: list[int] = []
    keeper = BufferedWriter(build, LogFiles(workdir / "log", "w", 1, 1), 60.0)
    for _ in range(3):
        keeper.add_entries([(1,)] * 100, 1)
    keeper.write_if_due()
    assert (made, keeper.state.written) == ([], 0)
    keeper.write_if_due(final=True)
    assert (made, keeper.state.written) == ([300], 300)
    keeper.add_entries([(1,)] * keeper_module.MAX_TABLE_ENTRIES, 1)
    assert made == [300, keeper_module.MAX_TABLE_ENTRIES]


def test_what_can_not_be_written_is_taken_up_to_a_bound(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "MAX_QUEUE_BYTES", 1000)
    Path("log").write_text("in the way")
    keeper = BufferedWriter(lambda entries: _table(len(entries), WHEN), LogFiles(Path("log"), "w", 1, 1), 0.0)
    keeper.add_entries([(1,)] * 50, 1)
    keeper.write_if_due()
    assert not keeper.is_full
    keeper.add_entries([(1,)] * 50, 1)
    keeper.write_if_due(final=True)
    assert keeper.is_full
    assert (keeper.state.faults, keeper.state.written) == (2, 0)
    Path("log").unlink()
    keeper.write_if_due(final=True)
    assert not keeper.is_full
    assert keeper.state.written == 100


def test_a_folder_that_can_not_be_written_loses_nothing_once_it_can(
    package: Package, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("log").write_text("in the way")
    log = _log(package)
    _put(log, ROW)
    _until(lambda: log.faults > 0)
    _put(log, ROW)
    assert (log.written, log.waiting, log.failed) == (0, 2, 0)
    Path("log").unlink()
    _until(lambda: log.written == 2)
    log.close()
    assert prediction_log.read(Path("log")).collect().height == 2
    (line,) = _told(capfd)
    assert (line["event"], line["level"], line["rows_waiting"]) == ("prediction_log", "error", 1)
    assert "Not a directory" in line["error"] or "File exists" in line["error"]


def test_what_can_not_be_written_before_the_end_is_counted(package: Package, capfd: pytest.CaptureFixture[str]) -> None:
    Path("log").write_text("in the way")
    log = _log(package)
    _put(log, ROW)
    log.close()
    assert (log.written, log.waiting, log.failed) == (0, 0, 1)
    assert [line["rows_lost"] for line in _told(capfd) if "rows_lost" in line] == [1]


def test_at_the_end_it_is_tried_once_more(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "MAX_QUEUE_BYTES", 1)
    monkeypatch.setattr(log_client, "CLOSE_TIMEOUT_S", 1.0)
    Path("log").write_text("in the way")
    log = _log(package)
    _put(log, ROW)
    _until(lambda: log.faults > 1)  # the next attempt is seconds away, and nothing more is read until then
    _put(log, ROW)
    Path("log").unlink()
    log.close()
    assert (log.written, log.failed) == (1, 1)


def test_what_is_no_table_is_counted_and_the_rest_is_kept(package: Package, capfd: pytest.CaptureFixture[str]) -> None:
    log = _log(package)
    _put(log, ROW)
    for body in (b"no json", b"[]"):
        log.put("a", AT, body, None, HALF, "")
    _put(log, ROW)
    log.close()
    assert (log.written, log.failed) == (2, 2)
    assert "no json" not in capfd.readouterr().err


def test_a_disk_that_fills_up_leaves_no_half_file(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(files_module.os, "fsync", fail)
        log = _log(package)
        _put(log, ROW)
        _until(lambda: log.faults > 0)
        assert [path for path in Path("log").rglob("*") if path.is_file()] == []
    log.close()
    assert log.written == 1


def test_each_hour_has_its_files(package: Package) -> None:
    log = _log(package)
    for hours in (0, 1, 1, 2):
        _put(log, ROW, at=AT + 3600 * hours)
    log.close()
    assert sorted(path.parent.name for path in Path("log").rglob("*.parquet")) == ["hour=14", "hour=15", "hour=16"]
    assert prediction_log.read(Path("log")).collect().height == 4


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (pl.exceptions.ComputeError("parquet: No space left on device (os error 28)"), "No space left on device"),
        (OSError("No space left on device (os error 28)"), "No space left on device"),
        (pl.exceptions.ComputeError("the value 5"), "can't be written"),
    ],
)
def test_a_write_that_fails_is_told_in_the_systems_words_where_polars_has_them(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fails)
    with pytest.raises(OSError, match=told) as caught:
        LogFiles(Path("log"), "w1", 10, 10).write_hour(pl.DataFrame({"time": [WHEN]}))
    assert keeper_module._describe_error(caught.value).endswith(f".parquet: {told}")
    assert list(Path("log").rglob("*.tmp")) == []


def test_what_a_crash_left_is_passed_over(package: Package) -> None:
    log = _log(package)
    _put(log, ROW)
    log.close()
    (file,) = Path("log").rglob("*.parquet")
    file.with_name("cut.parquet").write_bytes(file.read_bytes()[:100])
    file.with_name("empty.parquet").touch()
    file.with_name(".w1.parquet.tmp").write_bytes(b"PAR1")
    assert prediction_log.read(Path("log")).collect().height == 1


def test_a_file_that_was_damaged_since_is_named(package: Package) -> None:
    log = _log(package)
    _put(log, ROW)
    log.close()
    (file,) = Path("log").rglob("*.parquet")
    whole = file.read_bytes()
    damaged = file.with_name("damaged.parquet")
    damaged.write_bytes(whole[:8] + bytes(len(whole) - 16) + whole[-8:])
    with pytest.raises(MeritError) as caught:
        prediction_log.read(Path("log"))
    assert str(caught.value).startswith(f"{damaged}: is damaged (")
    assert "\n" not in str(caught.value)
    damaged.unlink()
    assert prediction_log.read(Path("log")).collect().height == 1


def test_versions_with_other_columns_are_read_together(package: Package) -> None:
    for more in ({}, {"leave_out": ["weight"]}):
        log = _log(package, **more)
        _put(log, ROW)
        log.close()
    assert prediction_log.read(Path("log")).collect()["weight"].sort().to_list() == [None, 0.5]


def test_nothing_to_read_is_told(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^log: holds no file that can be read yet; serve\.log\.folder says where"):
        prediction_log.read(Path("log"))


def test_without_a_folder_nothing_is_remembered(package: Package) -> None:
    log = predictionlog.create_log(settings.PredictionLog(), package, "v3", "w1")
    log.start()
    _put(log, ROW)
    log.close()
    assert (log.written, log.waiting, log.dropped) == (0, 0, 0)
    assert sorted(path.name for path in Path().iterdir()) == ["model"]


# Files


def _table(rows: int, at: datetime) -> pl.DataFrame:
    return pl.DataFrame({"time": [at] * rows, "x": list(range(rows))}).with_columns(
        pl.col("time").cast(pl.Datetime("us", "UTC"))
    )


def test_the_oldest_files_go_when_there_is_too_much(workdir: Path) -> None:
    now = datetime.now(UTC)
    made = LogFiles(Path("log"), "w1", 1, 90)
    noise = pl.DataFrame({"time": [now] * 60_000, "x": np.random.default_rng(0).random(60_000)})
    for hours in (5, 4, 3, 2):
        moment = pl.lit(now - timedelta(hours=hours)).cast(pl.Datetime("us", "UTC"))
        made.write_hour(noise.with_columns(time=moment))
    made.tidy()
    left = sorted(Path("log").glob("date=*/hour=*"))
    assert len(left) == 2
    assert sum(path.stat().st_size for path in Path("log").rglob("*.parquet")) <= 2**20
    assert left[-1].name == f"hour={now - timedelta(hours=2):%H}"


def test_files_that_are_too_old_go(workdir: Path) -> None:
    now = datetime.now(UTC)
    for days in (9, 1):
        LogFiles(Path("log"), "w1", 1000, 7).write_hour(_table(1, now - timedelta(days=days)))
        LogFiles(Path("log/feedback"), "w1", 1000, 7, Path("log")).write_hour(_table(1, now - timedelta(days=days)))
    LogFiles(Path("log"), "w2", 1000, 7).tidy()
    assert len(list(Path("log").rglob("*.parquet"))) == 2
    assert len(list(Path("log").rglob("date=*"))) == 2


def test_the_files_of_an_hour_that_is_over_become_one(workdir: Path) -> None:
    past = datetime.now(UTC) - timedelta(hours=3)
    made = LogFiles(Path("log"), "w1", 1000, 90)
    for rows in (1, 2, 3):
        made.write_hour(_table(rows, past))
    made.tidy()
    (whole,) = list_files(Path("log"))
    assert pl.read_parquet(whole)["x"].to_list() == [0, 0, 1, 0, 1, 2]
    made.write_hour(_table(4, past))
    assert sum(pl.read_parquet(path).height for path in list_files(Path("log"))) == 10


def test_large_files_of_an_hour_stay_as_they_are(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_JOINED_ROWS", 4)
    made = LogFiles(Path("log"), "w1", 1000, 90)
    for rows in (2, 3):
        made.write_hour(_table(rows, datetime.now(UTC) - timedelta(hours=3)))
    made.tidy()
    assert len(list_files(Path("log"))) == 2


def test_a_kill_between_whole_and_parts_doubles_nothing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = LogFiles(Path("log"), "w1", 1000, 90)
    for rows in (1, 2):
        made.write_hour(_table(rows, datetime.now(UTC) - timedelta(hours=3)))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    made.tidy()
    assert len(list(Path("log").rglob("*.parquet"))) == 3
    assert sum(pl.read_parquet(path).height for path in list_files(Path("log"))) == 3


def test_what_was_being_written_at_a_kill_is_swept(workdir: Path) -> None:
    made = LogFiles(Path("log"), "w1", 1000, 90)
    made.write_hour(_table(1, datetime.now(UTC)))
    (file,) = Path("log").rglob("*.parquet")
    old, fresh = file.with_name(".old.parquet.tmp"), file.with_name(".fresh.parquet.tmp")
    for each in (old, fresh):
        each.touch()
    os.utime(old, (0, 0))
    made.tidy()
    assert (old.exists(), fresh.exists()) == (False, True)


def test_two_workers_of_one_name_write_no_file_twice(workdir: Path) -> None:
    now = datetime.now(UTC)
    for _ in range(2):
        LogFiles(Path("log"), "w1", 1000, 90).write_hour(_table(1, now))
    assert len(list_files(Path("log"))) == 2


def test_what_can_not_be_packed_costs_itself_alone(package: Package) -> None:
    log = _log(package)
    _put(log, ROW)
    _put(log, ROW, who="\ud800")
    _put(log, ROW)
    log.close()
    assert (log.written, log.dropped, log.waiting) == (2, 1, 0)


# The writer's process

WORKER = f"""
import os, signal, time
from pathlib import Path
import numpy as np
from merit.scoring.package import Package
from merit.prediction_log import log as predictionlog, settings
package = Package.load(Path("model"))
log = predictionlog.create_log(settings.PredictionLog(folder="log", seconds=60), package, "v3", "w1")
put = lambda: log.put("a", {AT}, {json.dumps(ROW).encode()!r}, None, np.array([0.5], dtype=np.float32), "")
put()
"""
SENT = """
while log._batch.count or not log._sent_rows: time.sleep(0.01)
time.sleep(0.3)
"""
KILLED = f"""{SENT}
children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
(pid,) = map(int, "".join(children).split())
os.kill(pid, signal.SIGTERM)  # which it does not hear
os.kill(pid, signal.SIGKILL)
while not log.failed: time.sleep(0.01)
put()
log.close()
print(log.written, log.failed, log.waiting)
"""


def _worker(then: str = "") -> "subprocess.CompletedProcess[str]":
    code = [sys.executable, "-c", WORKER + then]
    return subprocess.run(code, capture_output=True, text=True, check=False, timeout=60)


def test_a_worker_that_ends_without_a_word_writes_what_waits(workdir: Path, make_package: Callable[..., Path]) -> None:
    make_package(Path("model"))
    assert _worker().returncode == 0
    assert prediction_log.read(Path("log")).collect().height == 1


def test_what_a_killed_worker_has_sent_is_written(workdir: Path, make_package: Callable[..., Path]) -> None:
    make_package(Path("model"))
    assert _worker(f"{SENT}os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    _until(lambda: Path("log").exists() and bool(list_files(Path("log"))))
    assert prediction_log.read(Path("log")).collect().height == 1


def test_a_writer_that_is_killed_is_counted_and_another_takes_its_place(
    workdir: Path, make_package: Callable[..., Path]
) -> None:
    make_package(Path("model"))
    done = _worker(KILLED)
    assert done.stdout.split() == ["1", "1", "0"], done.stderr
    (line,) = [json.loads(each) for each in done.stderr.splitlines()]
    assert (line["event"], line["rows_lost"]) == ("prediction_log", 1)
    assert line["error"] == "the writer has ended (status -9)"
    assert line["rows_failed"] == 1


def test_a_child_that_was_forked_holds_nobody_up(workdir: Path, make_package: Callable[..., Path]) -> None:
    make_package(Path("model"))
    done = _worker(f"""{SENT}
pid = os.fork()
if pid == 0:
    time.sleep(20)
began = time.monotonic()
log.close()
took = time.monotonic() - began
os.kill(pid, signal.SIGKILL)
print(log.written, log.failed, took < 5)
""")
    assert done.stdout.split() == ["1", "0", "True"], done.stderr


def test_a_child_that_was_forked_ends_without_a_word(workdir: Path, make_package: Callable[..., Path]) -> None:
    make_package(Path("model"))
    # ONNX Runtime does not let a forked child end by itself, so that what would run at its end is run here.
    done = _worker(f"{SENT}\nimport atexit\nif os.fork(): os.wait()\nelse: atexit._run_exitfuncs(), os._exit(0)\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert prediction_log.read(Path("log")).collect().height == 1
