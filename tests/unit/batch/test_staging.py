import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from merit.batch import output, predict, staging
from merit.batch.job import Job
from merit.batch.staging import DatabaseQuery
from merit.errors import MeritError, Refused
from tests.unit.batch.conftest import scored


@pytest.fixture
def database(workdir: Path, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """A database with the rows as the table `orders`, and its URL in SHOP."""
    made = sqlite3.connect("shop.db")
    made.execute("create table orders (id integer, shop text, kind integer, size real, weight real, note text)")
    filled = rows.with_columns(note=pl.when(pl.col("id") > 200).then(pl.lit("late")).otherwise(None))
    made.executemany("insert into orders values (?, ?, ?, ?, ?, ?)", filled.rows())
    made.commit()
    monkeypatch.setenv("SHOP", "sqlite:///shop.db")
    return made


def _run(package: Path, sql: str = "select * from orders", place: str = "out", **how: bool) -> predict.BatchResult:
    asked = Job(package, output.parse_output(place), chunk_rows=48)
    return predict.predict(DatabaseQuery(sql, "SHOP"), asked, report_progress=lambda done, total: None, **how)


def test_the_rows_of_a_query_are_scored(package: Path, rows: pl.DataFrame, database: sqlite3.Connection) -> None:
    assert _run(package).scored_rows == 240
    assert scored().select(rows.columns).cast(dict(rows.schema)).equals(rows)
    assert scored()["note"].null_count() == 201  # empty in the first chunks, text in the last
    assert not Path("out/.rows").exists()


def test_a_signal_ends_a_query_also_while_sqlite_computes(package: Path, database: sqlite3.Connection) -> None:
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 1e9) select max(x) as id from n"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            _run(package, endless)
    finally:
        timer.cancel()
    assert time.monotonic() - began < 20  # the query takes minutes
    assert not Path("out").exists()


def test_a_killed_run_goes_on_with_the_rows_it_began_with(
    package: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = output.Output.write_chunk

    def dies(self: output.Output, number: int, of: object) -> None:
        if number == 3:
            raise KeyboardInterrupt
        write(self, number, of)  # type: ignore[arg-type]

    monkeypatch.setattr(output.Output, "write_chunk", dies)
    with pytest.raises(KeyboardInterrupt):
        _run(package)
    database.execute("update orders set id = -id")  # as if the database gave others now
    database.commit()
    monkeypatch.setattr(output.Output, "write_chunk", write)
    assert _run(package).scored_rows == 240
    assert sorted(scored()["id"]) == list(range(240))


def test_a_run_killed_while_it_read_begins_to_read_anew(
    package: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(staging, "_unify_types", dies)
        _run(package)
    database.execute("delete from orders where id >= 100")
    database.commit()
    assert _run(package).scored_rows == 100


def test_another_query_is_another_input(package: Path, database: sqlite3.Connection) -> None:
    _run(package)
    assert _run(package).was_complete
    with pytest.raises(Refused) as caught:
        _run(package, "select * from orders where id < 5")
    told = "the query was 'select * from orders', now it is 'select * from orders where id < 5'; --restart"
    assert told in str(caught.value)
    assert _run(package, "select * from orders where id < 5", restart=True).scored_rows == 5


def test_a_query_without_rows_leaves_its_columns(package: Path, database: sqlite3.Connection) -> None:
    assert _run(package, "select * from orders where id < 0").scored_rows == 0
    assert scored().columns[:2] == ["id", "shop"]


def test_a_query_that_failed_leaves_room_for_the_next(package: Path, database: sqlite3.Connection) -> None:
    with pytest.raises(MeritError, match="no such table: ordrs"):
        _run(package, "select * from ordrs")
    assert not Path("out").exists()
    assert _run(package).scored_rows == 240
    before = Path("out/_merit.json").read_text()
    for query in ("select * from ordrs", "select id from orders"):
        with pytest.raises(MeritError):
            _run(package, query, restart=True)
    assert Path("out/_merit.json").read_text() == before
    assert _run(package).was_complete
    assert not Path("out/.rows.anew").exists()


@pytest.mark.parametrize("text", ["a :x", "12:30:15", r"\:x", "::int", ":1", "a:b :c:d"])
def test_a_colon_in_a_query_is_a_colon(package: Path, database: sqlite3.Connection, text: str) -> None:
    assert _run(package, f"select *, '{text}' as said from orders where id < 3").scored_rows == 3  # noqa: S608
    assert scored()["said"].unique().to_list() == [text]


def test_a_query_can_not_write(package: Path, database: sqlite3.Connection) -> None:
    with pytest.raises(MeritError, match=r"can't be read by SHOP: .*"):
        _run(package, "delete from orders returning *")
    assert database.execute("select count(*) from orders").fetchone() == (240,)


@pytest.mark.parametrize(
    ("url", "sql", "told"),
    [
        (None, "select 1", "--url-env: SHOP is not set"),
        ("sqlite:///none.db", "select 1", "the file 'none.db' is not there"),
        ("nonsense", "select 1", "can't be read by SHOP"),
        ("sqlite:///shop.db", "pragma query_only=off", "not authorized"),
        ("sqlite:///shop.db", "attach database 'pwn.db' as p", "not authorized"),
        ("sqlite:///shop.db", "vacuum into 'pwn.db'", "can't be read by SHOP"),
        ("sqlite:///shop.db", "-- nothing", "it gives no rows; give a SELECT"),
        ("sqlite:///shop.db", "select missing from orders", "no such column: missing"),
        ("nosuch+driver://me:secret@h/d", "select 1", "can't be read by SHOP"),
    ],
)
def test_what_can_not_be_read_is_told_without_the_password(
    package: Path, database: object, monkeypatch: pytest.MonkeyPatch, *, url: str | None, sql: str, told: str
) -> None:
    if url is None:
        monkeypatch.delenv("SHOP")
    else:
        monkeypatch.setenv("SHOP", url)
    with pytest.raises(MeritError) as caught:
        _run(package, sql)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not Path("none.db").exists()
    assert not Path("pwn.db").exists()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "query", "variable"), [("sql", None, "SHOP"), ("sql", "select 1", None), ("in.csv", "select 1", None)]
)
def test_a_query_needs_sql_and_a_variable(text: str, query: str | None, variable: str | None) -> None:
    with pytest.raises(MeritError, match="--url-env"):
        predict.open_source(text, query, variable)
