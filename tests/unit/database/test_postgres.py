"""A query on PostgreSQL can do nothing but select: each attack is refused by the server, and changes nothing."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest

from merit import database
from merit.data.sources import Sql
from merit.database import DatabaseError, parse_url
from merit.errors import MeritError
from tests.support.postgres import server

QUERY = "SELECT * FROM sales"
SETUP = """
    CREATE ROLE reader LOGIN;
    CREATE ROLE files LOGIN; GRANT pg_read_server_files TO files;
    CREATE ROLE signals LOGIN NOINHERIT; GRANT pg_signal_backend TO signals;
    CREATE ROLE boss SUPERUSER; CREATE ROLE heir LOGIN NOINHERIT; GRANT boss TO heir;
    CREATE ROLE copies LOGIN REPLICATION;
    CREATE ROLE lister LOGIN; GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO lister;
    SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'the-secret';
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE clear LOGIN PASSWORD 'the-secret'; CREATE ROLE good LOGIN PASSWORD 'the-secret';
    CREATE TABLE sales (id bigint, shop text, at timestamp, day date, amount numeric(8, 2), gift boolean, key uuid,
                        size real);
    INSERT INTO sales SELECT i, CASE WHEN i % 7 > 0 THEN 'shop ' || i % 3 END,
        timestamp '2024-01-01' + i * interval '1 hour', date '2024-01-01' + (i / 24)::int, i / 3.0, i % 2 = 0,
        gen_random_uuid(), i FROM generate_series(1, 2000) AS i;
    GRANT SELECT ON sales TO reader, good;
"""
HBA = """COPY (VALUES ('host all clear all password'), ('host all old all md5'), ('host all good all scram-sha-256'),
    ('host all all all trust')) TO '{}'"""


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """The URL of a database with the table sales, as its superuser; its server has roles of every kind."""
    with server() as url:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
            owner.execute(SETUP)
            (file,) = owner.execute("SHOW hba_file").fetchone() or ("",)
            owner.execute(HBA.format(file))
            owner.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture
def sales(shop: str) -> str:
    """The URL of that database, as a role that may read."""
    return shop.replace("shop@", "reader@")


def _owner(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        done = owner.execute(sql)
        return done.fetchall() if done.description else []


def _refusal(url: str, sql: str = QUERY) -> str:
    with pytest.raises(DatabaseError) as caught:
        database.read_table(parse_url(url), sql)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_are_read_with_their_types(sales: str) -> None:
    table = Sql(sales, "SELECT * FROM sales ORDER BY id DESC").read().sort("id")
    kinds = [table.schema[name].base_type() for name in ("id", "shop", "at", "day", "amount", "gift", "key", "size")]
    assert kinds == [pl.Int64, pl.String, pl.Datetime, pl.Date, pl.Decimal, pl.Boolean, pl.String, pl.Float64]
    assert table.height == 2000
    assert table["shop"].null_count() == 285
    assert table["at"][0] == datetime(2024, 1, 1, 1)


def test_rows_come_in_batches(sales: str) -> None:
    assert [rows.height for rows in database.read_batches(parse_url(sales), QUERY, 900)] == [900, 900, 200]


def test_the_same_rows_have_the_same_fingerprint(shop: str, sales: str) -> None:
    first = Sql(sales, QUERY).fingerprint()
    _owner(shop, "UPDATE sales SET size = size WHERE id < 10")  # what is written again stands at the end of the table
    assert Sql(sales, QUERY).fingerprint() == first
    _owner(shop, "UPDATE sales SET size = -1 WHERE id = 10")
    assert Sql(sales, QUERY).fingerprint() != first


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '12:30' AS a, '%s' AS b, '::int' AS c, 5 % 2 AS d",
        "TABLE sales",
        "VALUES (1), (2)",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x;",
        "SELECT id FROM sales WHERE shop LIKE '%1' -- the second",
    ],
)
def test_a_select_of_every_kind_is_read(sales: str, sql: str) -> None:
    assert database.read_table(parse_url(sales), sql).height > 0


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 1; DROP TABLE sales", "cannot insert multiple commands into a prepared statement; only one SELECT"),
        ("DELETE FROM sales RETURNING id", 'syntax error at or near "DELETE"; only one SELECT is allowed'),
        ("WITH x AS (INSERT INTO sales (id) VALUES (0) RETURNING id) SELECT * FROM x", "data-modifying statements"),
        ("COPY sales TO PROGRAM 'touch /tmp/canary'", "syntax error"),
        ("COPY sales TO '/tmp/canary'", "syntax error"),
        ("SELECT 1 AS a INTO canary", "INTO is not allowed here"),
        ("SELECT * FROM sales FOR UPDATE", "cannot execute SELECT FOR UPDATE in a read-only transaction"),
        ("SET ROLE shop", "syntax error"),
        ("DO $$ BEGIN END $$", "syntax error"),
        ("CALL canary()", "syntax error"),
        ("EXPLAIN ANALYZE DELETE FROM sales", "syntax error"),
        ("COMMIT", "syntax error"),
        ("", "syntax error at end of input"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "must be set before any query"),
        (
            "SELECT query_to_xml('DELETE FROM sales', true, true, '')",
            "DELETE is not allowed in a non-volatile function",
        ),
        ("SELECT pg_read_file('/etc/passwd')", "permission denied for function pg_read_file"),
        ("SELECT pg_ls_dir('/')", "permission denied for function pg_ls_dir"),
        ("SELECT lo_import('/etc/passwd')", "permission denied for function lo_import"),
        ("SELECT lo_export(1, '/tmp/canary')", "permission denied for function lo_export"),
        ("SELECT dblink('host=127.0.0.1', 'SELECT 1')", "function dblink(unknown, unknown) does not exist"),
        ("SELECT set_config('session_replication_role', 'replica', false)", "permission denied to set parameter"),
        ("SELECT set_config('role', 'shop', false)", "permission denied to set role"),
        ("SELECT nothing FROM sales", 'column "nothing" does not exist'),
        ("SELECT id, id FROM sales", "the column 'id' appears more than once"),
        ("SELECT 1 FROM sales WHERE shop = '\0'", "the query holds a NUL character"),
    ],
)
def test_what_is_more_than_a_select_is_refused(shop: str, sales: str, sql: str, says: str) -> None:
    assert says in _refusal(sales, sql)
    assert _owner(shop, "SELECT count(*), count(*) FILTER (WHERE id = 0) FROM sales") == [(2000, 0)]


def test_what_a_function_writes_is_rolled_back(shop: str, sales: str) -> None:
    assert database.read_table(parse_url(sales), "SELECT lo_create(4711) AS x").item() == 4711
    assert _owner(shop, "SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


@pytest.mark.parametrize(
    ("role", "says"),
    [
        ("shop", "the role 'shop' is a superuser; ask as one that may only read: CREATE ROLE reader LOGIN"),
        ("heir", "the role 'heir' is a superuser by way of 'boss'"),
        ("copies", "the role 'copies' is a role for replication"),
        ("files", "the role 'files' is of pg_read_server_files"),
        ("signals", "the role 'signals' is of pg_signal_backend"),
        ("lister", "the role 'lister' may call pg_ls_dir; REVOKE EXECUTE"),
    ],
)
def test_a_role_that_reaches_beyond_tables_is_refused(shop: str, role: str, says: str) -> None:
    assert says in _refusal(shop.replace("shop@", f"{role}@"))


def test_a_role_that_may_call_dblink_is_refused(shop: str, sales: str) -> None:
    _owner(shop, "CREATE FUNCTION dblink(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'")  # as the extension does
    try:
        assert "the role 'reader' may call dblink; REVOKE EXECUTE ON these functions FROM PUBLIC" in _refusal(sales)
    finally:
        _owner(shop, "DROP FUNCTION dblink(text)")


@pytest.mark.parametrize(
    "sql", ["SELECT shop::int FROM sales", "SELECT ('{\"' || shop)::json FROM sales", "SELECT 1/0"]
)
def test_no_value_stands_in_an_error(sales: str, sql: str) -> None:
    with pytest.raises(DatabaseError, match=r"\(22\w\w\w\): a value doesn't fit what the query asks of it") as caught:
        database.read_table(parse_url(sales), sql)
    error: BaseException | None = caught.value
    while error is not None:
        assert "shop 1" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_value_that_python_can_not_hold_is_told(sales: str) -> None:
    assert "a value has no counterpart in Python; CAST it" in _refusal(sales, "SELECT date 'infinity' AS x")


@pytest.mark.parametrize("role", ["clear", "old"])
def test_a_password_is_not_given_in_a_form_that_can_be_used_again(
    shop: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "the-secret")
    url = shop.replace("shop@", f"{role}@")
    with pytest.raises(MeritError, match=r"authentication method requirement .* failed: server requested"):
        Sql(url, "SELECT 1 AS x").read()
    monkeypatch.setenv("PGREQUIREAUTH", "password,md5")  # whoever runs it may say so
    assert Sql(url, "SELECT 1 AS x").read().item() == 1


def test_a_password_is_proved_without_being_given(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "the-secret")
    assert Sql(shop.replace("shop@", "good@"), QUERY).read().height == 2000


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    assert "connection failed" in _refusal("postgresql+psycopg://shop@127.0.0.1:1/shop")


def test_a_parameter_is_the_servers_and_not_the_drivers(sales: str) -> None:
    assert 'invalid connection option "autocommit"' in _refusal(f"{sales}?autocommit=true")


def test_without_the_driver_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    assert "pip install merit-ml[postgres]" in _refusal("postgresql+psycopg://shop@127.0.0.1:1/shop")
