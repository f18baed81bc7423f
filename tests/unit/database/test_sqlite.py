"""A query on SQLite can do nothing but select: each attack is refused by the engine, and leaves no trace."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from merit import database
from merit.database import DatabaseError, parse_url, rows, sqlite

URL = "sqlite:///shop.db"


@pytest.fixture
def shop(workdir: Path) -> Iterator[sqlite3.Connection]:
    """The database shop.db with the table sales, open to its owner."""
    with closing(sqlite3.connect("shop.db", isolation_level=None)) as owner:
        owner.execute("CREATE TABLE sales (id INTEGER, shop TEXT, amount REAL)")
        owner.execute("INSERT INTO sales VALUES (1, 'north', 1.5), (2, NULL, 2), (3, 'south', NULL)")
        yield owner


def _refusal(sql: str) -> str:
    with pytest.raises(DatabaseError) as caught:
        database.read_table(parse_url(URL), sql)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*")}


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("VACUUM INTO 'canary.pth'", "not authorized: ATTACH"),
        ("VACUUM", "not authorized: ATTACH"),
        ("ATTACH 'canary.db' AS x", "not authorized: ATTACH"),
        ("ATTACH 'file:canary.db?mode=rwc' AS x", "not authorized: ATTACH"),
        ("DETACH main", "not authorized: DETACH"),
        ("PRAGMA writable_schema = ON", "not authorized: PRAGMA"),
        ("PRAGMA journal_mode = WAL", "not authorized: PRAGMA"),
        ("PRAGMA query_only = OFF", "not authorized: PRAGMA"),
        ("SELECT * FROM pragma_table_info('sales')", "not authorized: a virtual table"),
        ("SELECT load_extension('canary.so')", "not authorized: the function load_extension"),
        ("SELECT fts3_tokenizer('simple')", "not authorized: the function fts3_tokenizer"),
        ("SELECT fts3_tokenizer('simple', x'0000000000000000')", "not authorized: the function fts3_tokenizer"),
        ("SELECT sqlite_log(1, 'x')", "not authorized: the function sqlite_log"),
        ("SELECT zeroblob(1000000000)", "not authorized: the function zeroblob"),
        ("SELECT readfile('/etc/passwd')", "no such function: readfile"),
        ("SELECT writefile('canary', 'x')", "no such function: writefile"),
        ("SELECT edit('x')", "no such function: edit"),
        ("INSERT INTO sales VALUES (4, 'x', 1) RETURNING *", "not authorized: INSERT"),
        ("WITH x AS (SELECT 9) INSERT INTO sales SELECT 9, 'x', 1 FROM x RETURNING id", "not authorized: INSERT"),
        ("UPDATE sales SET id = 0 RETURNING id", "not authorized: UPDATE"),
        ("DELETE FROM sales RETURNING *", "not authorized: DELETE"),
        ("DROP TABLE sales", "not authorized"),
        ("CREATE TABLE x (a)", "not authorized"),
        ("CREATE TEMP TABLE x AS SELECT 1", "not authorized"),
        ("CREATE VIRTUAL TABLE x USING fts5(a)", "not authorized"),
        ("SELECT * FROM dbstat", "not authorized: a virtual table"),
        ("ANALYZE", "not authorized"),
        ("BEGIN", "not authorized: TRANSACTION"),
        ("SAVEPOINT x", "not authorized: SAVEPOINT"),
        ("SELECT 1; DROP TABLE sales", "You can only execute one statement at a time"),
        ("REINDEX", "it gives no rows; give a SELECT"),
        ("", "it gives no rows; give a SELECT"),
        ("-- nothing", "it gives no rows; give a SELECT"),
        ("SELECT * FROM sale", "no such table: sale"),
        ("SELECT id, id FROM sales", "the column 'id' appears more than once"),
        (
            "SELECT 'the-secret' AS x, x'00' AS y UNION ALL SELECT 1, 1",
            "the column 'y' holds values of several types (bytes, int)",
        ),
    ],
)
def test_what_is_more_than_a_select_is_refused_and_leaves_no_trace(
    shop: sqlite3.Connection, sql: str, says: str
) -> None:
    before = _files()
    assert says in _refusal(sql)
    assert _files() == before
    assert shop.execute("SELECT count(*) FROM sales").fetchone() == (3,)


def test_a_view_can_call_no_more_than_a_query(shop: sqlite3.Connection) -> None:
    shop.execute("CREATE VIEW harmless AS SELECT fts3_tokenizer('simple') AS x")
    assert "unsafe use of fts3_tokenizer()" in _refusal("SELECT * FROM harmless")


def test_a_select_of_every_kind_is_read(shop: sqlite3.Connection) -> None:
    sql = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) "
        "SELECT n.x, upper(s.shop) AS shop, sum(s.amount) OVER (ORDER BY n.x) AS total, "
        "json_extract('{\"a\": 1}', '$.a') AS a, '12:30' AS t "
        "FROM n JOIN sales AS s ON s.id = n.x WHERE EXISTS (SELECT 1 FROM sales) ORDER BY n.x"
    )
    found = database.read_table(parse_url(URL), sql)
    assert found.rows() == [(1, "NORTH", 1.5, 1, "12:30"), (2, None, 3.5, 1, "12:30"), (3, "SOUTH", 3.5, 1, "12:30")]
    assert found.schema["x"] == pl.Int64


def test_no_value_stands_in_an_error(shop: sqlite3.Connection) -> None:
    shop.execute("INSERT INTO sales VALUES (5, CAST(x'7365637265742dff' AS TEXT), 1)")
    for sql in ("SELECT shop FROM sales", "SELECT 1 AS x UNION ALL SELECT CAST('secret' AS BLOB)"):
        with pytest.raises(DatabaseError) as caught:
            database.read_table(parse_url(URL), sql)
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret" not in str(error)
            error = error.__cause__ or error.__context__


def test_an_endless_query_ends(shop: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT "
    monkeypatch.setattr(sqlite, "MAX_STEPS", 1_000_000)
    assert "the query takes more than 1,000,000 steps" in _refusal(f"{endless} count(*) FROM n")
    monkeypatch.setattr(rows, "MAX_TABLE_BYTES", 2**20)
    monkeypatch.setattr(rows, "FETCH_ROWS", 100)
    assert "the query gives more than 0.000976562 GiB; select less" in _refusal(
        f"{endless} x, printf('%1000d', x) AS t FROM n"
    )
    assert "select less" in _refusal(f"{endless} x FROM n LIMIT 20000")  # each number takes more than its 8 bytes


def test_a_query_of_few_long_steps_ends(shop: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "FETCH_TIMEOUT_S", 0.05)
    monkeypatch.setattr(sqlite, "STEPS_PER_CHECK", 2**31 - 1)  # nobody counts steps
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert _refusal(endless) == "the query takes more than 0.05 seconds for the next rows; select less"


def test_what_a_query_remembers_is_bounded_and_not_put_into_files(shop: sqlite3.Connection) -> None:
    sql = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 64) "
        "SELECT count(DISTINCT printf('%1000000d', x)) FROM n"
    )
    code = (
        "from merit import database\nfrom merit.database import sqlite\nsqlite.MAX_HEAP_BYTES = 2**24\n"
        f"try: database.read_table(database.parse_url('{URL}'), {sql!r})\nexcept database.DatabaseError as error: "
        "print(error)"
    )  # a process of its own, for SQLite never takes more again in one with less
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "the query takes more than 0.015625 GiB of memory; select less\n"


def test_a_file_with_a_log_is_read_without_one_being_made_beside_it(shop: sqlite3.Connection) -> None:
    shop.execute("PRAGMA journal_mode = WAL")
    shop.execute("INSERT INTO sales VALUES (4, 'west', 4)")
    assert database.read_table(parse_url(URL), "SELECT count(*) AS n FROM sales").item() == 4  # its owner has it open
    shop.close()
    before = _files()
    assert list(before) == ["shop.db"]
    assert database.read_table(parse_url(URL), "SELECT count(*) AS n FROM sales").item() == 4
    assert _files() == before


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_link_beside_the_file_is_not_written_through(shop: sqlite3.Connection, end: str) -> None:
    shop.close()
    Path("victim").write_text("as it was")
    Path(f"shop.db{end}").symlink_to("victim")
    assert f"'shop.db{end}' beside it is a link" in _refusal("SELECT * FROM sales")
    assert Path("victim").read_text() == "as it was"


def test_what_is_no_plain_file_beside_the_file_is_not_waited_for(shop: sqlite3.Connection) -> None:
    os.mkfifo("shop.db-journal")
    assert _refusal("SELECT * FROM sales") == "'shop.db-journal' beside it is no plain file; remove it"


def test_a_write_that_was_cut_off_is_told(shop: sqlite3.Connection) -> None:
    shop.execute("PRAGMA cache_size = 1")
    shop.execute("BEGIN")
    shop.execute("CREATE TABLE filler AS SELECT printf('%100000d', id) AS x FROM sales")
    for name in ("shop.db", "shop.db-journal"):
        Path(f"cut-{name}").write_bytes(Path(name).read_bytes())
    with pytest.raises(DatabaseError, match=r"^a write to it was cut off; open it once with sqlite3"):
        database.read_table(parse_url("sqlite:///cut-shop.db"), "SELECT * FROM sales")


def test_a_file_with_a_log_that_is_written_to_meanwhile_is_refused(shop: sqlite3.Connection) -> None:
    shop.execute("PRAGMA journal_mode = WAL")
    shop.close()
    found = database.read_batches(parse_url(URL), "SELECT * FROM sales", 1)
    next(found)
    with closing(sqlite3.connect("shop.db", isolation_level=None)) as other:
        other.execute("INSERT INTO sales VALUES (4, 'west', 4)")
    with pytest.raises(DatabaseError, match=r"'shop\.db' was written to while it was read; try again"):
        list(found)


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look like one" * 9])
def test_a_file_that_is_no_database_is_told(workdir: Path, content: bytes) -> None:
    Path("shop.db").write_bytes(content)
    assert _refusal("SELECT * FROM sales") in {"no such table: sales", "file is not a database"}
    assert Path("shop.db").read_bytes() == content


def test_a_file_whose_name_looks_like_a_uri_is_opened_as_a_file(workdir: Path) -> None:
    with closing(sqlite3.connect("a?mode=rwc#.db")) as made, made:
        made.execute("CREATE TABLE t AS SELECT 7 AS x")
    assert database.read_table(parse_url("sqlite:///a%3Fmode=rwc#.db"), "SELECT x FROM t").item() == 7
