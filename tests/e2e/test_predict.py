"""`merit predict` as a process: killed, over S3, over PostgreSQL, on Ray, and beside the endpoint."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from tests.support import postgres
from tests.support.endpoint import serving
from tests.support.small_project import ROOT, Project

SECRET = "not-to-be-printed"  # noqa: S105  # moto takes any
ROWS = 100_000


@pytest.fixture
def folder(tmp_path: Path, make_package: Callable[..., Path]) -> Path:
    """A folder with the tiny package and rows for it."""
    make_package(tmp_path / "model", sections="data: {columns: {weight: {max: 1}}}")
    _rows(ROWS).write_parquet(tmp_path / "in.parquet")
    return tmp_path


def _rows(count: int) -> pl.DataFrame:
    number = pl.int_range(count, eager=True).alias("id")
    shop = pl.select(pl.when(number % 3 == 0).then(pl.lit("north")).otherwise(pl.lit("far away"))).to_series()
    return pl.DataFrame({"id": number, "shop": shop, "kind": number % 4, "size": number / 7, "weight": number / count})


def _start(folder: Path, *args: str, **environment: str) -> subprocess.Popen[str]:
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "AWS_EC2_METADATA_DISABLED": "true", **environment}
    command = [str(Path(sys.executable).with_name("merit")), "predict", *args]
    return subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _done(folder: Path, *args: str, **environment: str) -> str:
    process = _start(folder, *args, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def _scored(folder: Path, place: str = "out") -> pl.DataFrame:
    return pl.read_parquet(folder / place / "*.parquet")


def _until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        if holds():
            return
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    pytest.fail("it did not come so far within half a minute")


def test_a_run_that_is_killed_twice_loses_and_doubles_no_row(folder: Path) -> None:
    for parts in (3, 20):
        process = _start(folder, "in.parquet", "out", "--chunk-rows", "2000", "--workers", "2")
        _until(lambda: len(list(folder.glob("out/part-*"))) >= parts, process)  # noqa: B023  # called here and now
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert 0 < len(list(folder.glob("out/part-*"))) < ROWS // 2000
    before = {path: path.stat().st_mtime_ns for path in folder.glob("out/part-*")}
    told = _done(folder, "in.parquet", "out", "--workers", "2")
    assert told == f"out: 100,000 rows scored, {2000 * len(before):,} of them before\n"
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert _scored(folder)["id"].to_list() == list(range(ROWS))
    _done(folder, "in.parquet", "whole")
    assert _scored(folder).equals(_scored(folder, "whole"))
    assert sorted(path.name for path in folder.glob("out/*") if not path.match("part-*")) == ["_merit.json"]


def test_who_ends_a_run_is_told_what_is_kept(folder: Path) -> None:
    process = _start(folder, "in.parquet", "out", "--chunk-rows", "2000", "--workers", "1")
    _until(lambda: len(list(folder.glob("out/part-*"))) >= 3, process)
    process.terminate()
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert told == "interrupted: the parts that are finished are kept in out; run the same command to go on\n"
    process = _start(folder, "in.parquet", "out", "--chunk-rows", "500")
    assert "rows, in chunks of 2,000, as it was begun" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_rows_of_postgresql_are_scored_by_a_cursor_of_the_server(folder: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with postgres.server() as url:
        with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
            cursor.execute(
                "create table orders as select id, case when id % 3 = 0 then 'north' else 'far away' end as shop, "
                "id % 4 as kind, id / 7.0 as size, (id / 100000.0)::float as weight, null::text as note "
                "from generate_series(0, 99999) as id"
            )
            cursor.execute("create role reader login; grant select on orders to reader")
        reader = url.replace("shop@", "reader@")
        out = _done(folder, "sql", "out", "--query", "select * from orders", "--url-env", "SHOP", SHOP=reader)
    assert out == "out: 100,000 rows scored\n"
    _done(folder, "in.parquet", "whole")
    columns = ["id", "prediction", "version"]
    assert _scored(folder).select(columns).sort("id").equals(_scored(folder, "whole").select(columns))


@contextmanager
def _s3() -> Iterator[str]:
    """Give the address of an S3 server with the bucket `shop`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                _put(f"{address}/shop")
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _put(url: str, content: bytes = b"") -> None:
    headers = {"content-type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT"), timeout=20) as answer:
        assert answer.status == 200


def test_a_prefix_in_s3_is_scored_and_its_objects_are_watched(folder: Path) -> None:
    who = {"AWS_ACCESS_KEY_ID": "merit", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    with _s3() as address:
        for day, start in (("01", 0), ("02", 50_000)):
            _rows(ROWS)[start : start + 50_000].write_parquet(folder / "one.parquet")
            _put(f"{address}/shop/orders/day={day}/one.parquet", (folder / "one.parquet").read_bytes())
        told = {"AWS_ENDPOINT_URL": address, **who}
        assert _done(folder, "s3://shop/orders/", "out", **told) == "out: 100,000 rows scored\n"
        assert _done(folder, "s3://shop/orders/", "out", **told) == "out: 100,000 rows scored (done before)\n"
        _put(f"{address}/shop/orders/day=03/one.parquet", (folder / "one.parquet").read_bytes())
        process = _start(folder, "s3://shop/orders/", "out", **told)
        refused = process.communicate(timeout=60)[1]
        _put(f"{address}/shop/lines/one.csv", b"shop,kind,weight,size\nnorth,1,0.5,\nnorth,1,0.5\n")
        broken = _start(folder, "s3://shop/lines/", "other", **told)
        assert "one.csv: line 3 has 3 fields, the header has 4;" in broken.communicate(timeout=60)[1]
        nothing = _start(folder, "s3://shop/none/", "other", **told)
        assert "s3://shop/none/: holds no object that ends in" in nothing.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "the input is another: s3://shop/orders/day=03/one.parquet" in refused
    assert SECRET not in refused
    assert _scored(folder)["id"].to_list() == list(range(ROWS))
    assert _scored(folder).schema["day"] == pl.Int64
    _done(folder, "in.parquet", "whole")
    assert _scored(folder)["prediction"].equals(_scored(folder, "whole")["prediction"])


def test_ray_gives_the_same_parts_and_goes_on_where_the_other_engine_stopped(folder: Path) -> None:
    pytest.importorskip("ray")
    _done(folder, "in.parquet", "whole")
    (folder / "in.csv").write_text(_rows(ROWS).write_csv())  # which Ray can't enter in its middle
    process = _start(folder, "in.csv", "out", "--chunk-rows", "5000", "--workers", "1")
    _until(lambda: len(list(folder.glob("out/part-*"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    done = 5000 * len(list(folder.glob("out/part-*")))
    told = _done(folder, "in.csv", "out", "engine=ray", "--workers", "2")
    assert told == f"out: 100,000 rows scored, {done:,} of them before\n"
    assert _scored(folder)["id"].to_list() == [str(number) for number in range(ROWS)]
    assert _scored(folder)["prediction"].equals(_scored(folder, "whole")["prediction"])


def test_a_batch_and_the_endpoint_give_the_same_bits(finished: Project) -> None:
    rows = pl.read_parquet(finished.folder / "data/features/test.parquet").head(300)
    rows.write_parquet(finished.folder / "rows.parquet")
    ran = finished.merit("predict", "rows.parquet", "rows-scored", "--chunk-rows", "128", "--on-error", "aside")
    assert ran.returncode == 0, ran.stderr
    scored = pl.read_parquet(finished.folder / "rows-scored/*.parquet")
    inputs = [each["name"] for each in json.loads(finished.read("model/signature.json"))["inputs"]]
    asked = scored.select(inputs).to_dicts()
    with serving(finished, "merit", "serve") as endpoint:
        whole = endpoint.predict(asked)[1]
        single = [endpoint.predict(row)[1]["predictions"][0] for row in asked[:40]]
    assert scored["prediction"].to_list() == whole["predictions"]
    assert scored["prediction"].to_list()[:40] == single
    origin = {name: whole[name] for name in ("model", "version", "commit")}
    assert scored.select(list(origin)).unique().to_dicts() == [origin]
