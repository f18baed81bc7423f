import errno
import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel
from merit.serving.auth.errors import HttpError
from merit.serving.codec import decoder, decoder_process
from merit.serving.codec.tables import TableCodec

HALF = np.array([0.5], dtype=np.float32)
GONE = "tables can't be read or written at the moment; come again, or send and accept JSON"


@pytest.fixture
def make(workdir: Path, make_package: Callable[..., Path]) -> Callable[..., TableCodec]:
    package = Package.load(make_package(Path("model")))
    return lambda seconds=20: TableCodec(ServedModel(package, "4", 5), settings.Settings(timeout_seconds=seconds))


ROW = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
FORMS: dict[str, Callable[[pl.DataFrame, io.BytesIO], Any]] = {
    "parquet": pl.DataFrame.write_parquet,
    "arrow stream": pl.DataFrame.write_ipc_stream,
    "arrow file": pl.DataFrame.write_ipc,
}


def _body(form: str = "parquet", **columns: Any) -> bytes:
    file = io.BytesIO()
    FORMS[form](pl.DataFrame([ROW]).with_columns(**columns), file)
    return file.getvalue()


def _columns(tables: TableCodec, seconds: float = 20.0) -> dict[str, list[Any]]:
    found = tables.decode_columns(_body(), "parquet", time.perf_counter() + seconds)
    return {name: values.tolist() for name, values in found.items()}


def _encoded(tables: TableCodec) -> bytes:
    return tables.encode_predictions(HALF, time.perf_counter() + 20)


def _helper(monkeypatch: pytest.MonkeyPatch, *lines: str, greets: bool = True) -> None:
    """Put a program in the helper's place that greets, notes its start in `starts` and then does what it is told."""
    hello = "os.write(1, bytes(8))" if greets else ""
    code = ["import os, sys, time", "print(file=open('starts', 'a'))", hello, *lines]
    Path("helper.py").write_text("\n".join(code))
    monkeypatch.setattr(decoder_process, "SCRIPT", Path("helper.py"))


def _starts() -> int:
    return len(Path("starts").read_text())


def _refusal(work: Callable[[], Any]) -> HttpError:
    with pytest.raises(HttpError) as caught:
        work()
    assert (caught.value.status, caught.value.message, caught.value.headers) == (503, GONE, [(b"retry-after", b"1")])
    return caught.value


def test_a_helper_that_somebody_killed_while_it_read_costs_no_request(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = str(decoder_process.SCRIPT)
    kill = f"os.read(0, 8), os.kill(os.getpid(), {signal.SIGKILL})"
    _helper(
        monkeypatch,
        "if os.path.getsize('starts') == 1:",
        f"    {kill}",
        f"source = open({real!r}).read().replace('responses.write(bytes(8))', '')",
        "source = source.replace('MAX_RETAINED_BYTES = MAX_MEMORY_BYTES // 2', 'MAX_RETAINED_BYTES = 0')",
        "exec(compile(source, 'decoder.py', 'exec'), {'__name__': '__main__'})",
    )
    tables = make()
    for _ in range(2):  # after the first it has more memory than is kept, and ends
        assert _columns(tables) == {name: [value] for name, value in ROW.items()}
    assert _starts() == 3
    tables.close()
    Path("starts").unlink()
    assert pl.read_ipc_stream(_encoded(tables))["prediction"].to_list() == [0.5]
    tables.close()


@pytest.mark.parametrize(
    ("ends", "starts"), [("os.abort()", 1), ("os._exit(0)", 2), (f"os.kill(os.getpid(), {signal.SIGKILL})", 2)]
)
def test_a_table_that_ends_the_helper_is_told_as_broken_and_tried_again_if_the_system_may_have_ended_it(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch, ends: str, starts: int
) -> None:
    _helper(monkeypatch, "os.read(0, 8)", ends)
    with pytest.raises(BadRows, match="can't be read as parquet: broken, or it takes more memory or time than is all"):
        _columns(make())
    assert _starts() == starts


def test_a_table_that_takes_more_processor_time_than_is_allowed_is_told_as_broken(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = decoder_process.SCRIPT.read_text(encoding="utf-8").replace("SECONDS = 1.5, 0.002", "SECONDS = 0.01, 0.0")
    Path("decoder.py").write_text(
        source.replace("def _process_request(", "def _process_request(_):\n    while True: pass\n\ndef _never(")
    )
    monkeypatch.setattr(decoder_process, "SCRIPT", Path("decoder.py"))
    with pytest.raises(BadRows, match="more memory or time than is allowed"):
        _columns(make())


def test_a_table_that_has_no_time_left_is_to_come_again(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "time.sleep(600)")
    for seconds, starts in ((-1.0, 0), (0.3, 1)):
        with pytest.raises(HttpError, match="there was no time left for the table") as caught:
            _columns(make(), seconds)
        assert (caught.value.status, caught.value.headers) == (503, [(b"retry-after", b"1")])
        assert (_starts() if Path("starts").exists() else 0) == starts


def test_a_helper_serves_many_tables_until_it_is_gone_and_no_timer_of_one_is_left_for_the_next(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(
        monkeypatch,
        "while size := os.read(0, 8):",
        "    os.read(0, int.from_bytes(size, 'big'))",
        "    answer = b'\\x81\\xa8problems\\x91\\xa3one'",
        "    os.write(1, len(answer).to_bytes(8, 'big') + answer)",
    )
    tables, timers = make(), _timers()

    def ask() -> None:
        with pytest.raises(BadRows, match=r"^one$"):
            _columns(tables)

    ask()
    ask()
    assert (_starts(), _timers()) == (1, timers)
    process = tables._helper._process
    assert process is not None
    process.kill()
    process.wait()
    ask()
    assert _starts() == 2
    tables.close()


def _timers() -> list[threading.Thread]:
    """Return the timers that may still do something."""
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer) and not each.finished.is_set()]


def _question(form: str, body: bytes, **more: Any) -> dict[str, Any]:
    names = {"shop": "string", "kind": "integer", "size": "number", "weight": "number"}
    inputs = [{"name": name, "type": kind, "nullable": name == "size"} for name, kind in names.items()]
    limits = {"most_rows": 1000, "most_bytes": 1_000_000}
    return {"is": "decode", "form": form, "body": body, "inputs": inputs, **limits, **more}


def _recorded(read: Callable[..., pl.DataFrame], decoded: list[str]) -> Callable[..., pl.DataFrame]:
    """Return a reader that records the columns that it is asked to decode."""

    def recorded(file: Any, columns: list[str] | None = None) -> pl.DataFrame:
        decoded.extend(columns or [])
        return read(file, columns=columns)

    return recorded


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"color": pl.lit("red")}, "unknown column 'color'; columns: shop, kind, size, weight"),
        ({"kind": pl.lit([[1]])}, "column 'kind': is List(List(Int64)), but the model takes integer"),
        ({"size": pl.lit(b"a")}, "column 'size': is Binary, but the model takes number"),
    ],
)
def test_columns_that_are_not_the_models_are_told_and_never_decoded(
    monkeypatch: pytest.MonkeyPatch, form: str, columns: dict[str, Any], problem: str
) -> None:
    decoded: list[str] = []
    for name in ("read_parquet", "read_ipc", "read_ipc_stream"):
        monkeypatch.setattr(pl, name, _recorded(getattr(pl, name), decoded))
    (name,) = columns
    answer = decoder._process_request(_question(form, _body(form, weight=pl.lit(None, pl.Float64), **columns)))
    assert answer == {"problems": [problem, "column 'weight': is missing in row 0"]}
    assert decoded == [each for each in ROW if each != name]


def test_a_column_with_several_faults_tells_each() -> None:
    file = io.BytesIO()
    pl.DataFrame([{**ROW, "weight": cell} for cell in ("x", "inf", "1")]).write_parquet(file)
    said = "column 'weight': is not finite in row 1", "column 'weight': is not a number in row 0"
    assert decoder._process_request(_question("parquet", file.getvalue())) == {"problems": list(said)}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_an_array_with_one_value_that_is_no_number_is_refused(value: float) -> None:
    column = {"name": "image", "shape": [2]}
    whole = pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float64, 2))
    assert decoder._encode_array(whole, column) == np.array([[1.0, 2.0], [3.0, 4.0]]).tobytes()
    broken = pl.Series([[1.0, 2.0], [3.0, value]], dtype=pl.Array(pl.Float64, 2))
    with pytest.raises(decoder.InvalidTable, match=r"'image': send nested arrays of numbers, of the shape \[2\]$"):
        decoder._encode_array(broken, column)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [pl.String, pl.Categorical])
def test_a_text_that_is_there_once_for_many_rows_is_bounded_by_what_it_becomes(form: str, kind: Any) -> None:
    def asked(rows: int) -> dict[str, Any]:
        file = io.BytesIO()
        long = pl.DataFrame({**ROW, "shop": "x" * 5_000}, schema_overrides={"shop": kind})
        FORMS[form](pl.concat([long] * rows, rechunk=False), file)
        return decoder._process_request(_question(form, file.getvalue()))

    assert asked(100)["rows"] == 100
    assert "it expands to more than 1000000 bytes; send fewer rows" in asked(300)["problems"][0]


@pytest.mark.parametrize(("problems", "told"), [(["one"], "one"), (["one", "two"], "one (and 1 more, in problems)")])
def test_the_first_problem_of_a_table_is_told_and_all_are_listed(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch, problems: list[str], told: str
) -> None:
    tables, asked = make(), []
    monkeypatch.setattr(tables, "_request", lambda request, _: asked.append(request) or {"problems": problems})
    with pytest.raises(BadRows) as caught:
        _columns(tables)
    assert (str(caught.value), caught.value.problems) == (told, problems)
    default = settings.Settings()
    assert [asked[0][name] for name in ("most_rows", "most_bytes")] == [default.max_rows, default.max_bytes * 10]
    assert _refusal(lambda: _encoded(tables)).reason == "the helper for tables failed: one"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (0, "the table holds no row; send at least one"),
        (1, None),
        (1000, None),
        (1001, "found 1001 rows; at most 1000 are taken in one request (serve.max_rows)"),
    ],
)
def test_a_table_has_a_row_and_no_more_than_are_taken(rows: int, told: str | None) -> None:
    file = io.BytesIO()
    pl.DataFrame([ROW] * rows, schema={name: type(value) for name, value in ROW.items()}).write_parquet(file)
    answer = decoder._process_request(_question("parquet", file.getvalue()))
    assert (answer.get("rows"), answer.get("problems")) == ((rows, None) if told is None else (None, [told]))


def test_an_answer_that_can_not_be_written_as_a_table_is_not_the_fault_of_who_asked(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "os.read(0, 8)", "os.abort()")
    assert _refusal(lambda: _encoded(make())).reason == f"the helper for tables failed: exit code -{signal.SIGABRT:d}"


def test_a_helper_that_ends_before_it_has_begun_is_not_the_fault_of_the_table(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(monkeypatch, "sys.exit(3)", greets=False)
    assert "at its start, exit code 3" in _refusal(lambda: _columns(make())).reason


def test_where_no_helper_can_be_started_who_asks_is_to_come_again(
    make: Callable[..., TableCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "Popen", fails)
    told = _refusal(lambda: _columns(make()))
    assert told.reason == "the helper for tables failed: Too many open files"
    _refusal(lambda: _encoded(make()))
