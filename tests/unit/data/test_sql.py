import sqlite3
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from merit.config.compose import hash_source
from merit.config.schema import Lock
from merit.data.ingest import ingest
from merit.data.sources import Sql
from merit.errors import MeritError

QUERY = "SELECT * FROM sales"
ROWS = [(1, "north", "2024-01-02", 1.5), (2, None, "2024-01-01", None), (3, "south", "2024-01-03", 2.5)]


@pytest.fixture
def shop(workdir: Path) -> Path:
    """A SQLite file with the table `sales`, in the folder that the test runs in."""
    _fill(Path("shop.db"), ROWS)
    return Path("shop.db")


def _fill(place: Path, rows: list[tuple[object, ...]]) -> None:
    place.unlink(missing_ok=True)
    with sqlite3.connect(place) as database:
        database.execute("CREATE TABLE sales (id INTEGER, shop TEXT, day TEXT, amount REAL)")
        database.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    database.close()


def test_the_rows_of_a_query_are_read_as_they_come_with_missing_values(shop: Path) -> None:
    table = Sql("sqlite:///shop.db", QUERY).read()
    assert table.schema == {"id": pl.Int64, "shop": pl.String, "day": pl.String, "amount": pl.Float64}
    assert sorted(table.rows())[1] == (2, None, "2024-01-01", None)


def test_the_same_rows_in_another_order_are_the_same_table(shop: Path) -> None:
    first = Sql("sqlite:///shop.db", QUERY)
    _fill(shop, ROWS[::-1])
    second = Sql("sqlite:///shop.db", QUERY)
    assert second.read().equals(first.read())
    assert second.fingerprint() == first.fingerprint()


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:2],
        [*ROWS, ROWS[0]],
        [(1, "north", "2024-01-02", 1.75), *ROWS[1:]],
        [(1, "", "2024-01-02", 1.5), *ROWS[1:]],
    ],
    ids=["a row less", "a row again", "another number", "another word"],
)
def test_other_rows_have_another_fingerprint(shop: Path, rows: list[tuple[object, ...]]) -> None:
    source = {"_target_": "merit.data.sources.Sql", "url": "sqlite:///shop.db", "query": QUERY}
    before = hash_source(source)
    assert before == hash_source(source)
    _fill(shop, rows)
    assert hash_source(source) != before


def test_ingest_refuses_rows_that_changed_since_the_lock_was_made(shop: Path, make_lock: Callable[..., Lock]) -> None:
    def edit(values: dict) -> None:
        source = {"_target_": "merit.data.sources.Sql", "url": "sqlite:///shop.db", "query": QUERY}
        columns = {"day": {"type": "datetime"}, "shop": {"type": "string", "feature": "category", "missing": 0.5}}
        values["data"] |= {"source": source, "fingerprint": hash_source(source), "time": "day", "columns": columns}
        values["data"]["target"] = {"name": "large", "sql": "id > 1"}
        values["data"]["contract"]["unique"] = []
        values["evaluate"]["slices"] = []

    data = make_lock(edit).data
    assert ingest(data)["large"].to_list() == [1.0, 0.0, 1.0]
    _fill(shop, ROWS[:2])
    with pytest.raises(MeritError, match="the data changed; 'merit compose' with the overrides in use takes"):
        ingest(data)


def test_a_source_can_not_write_or_make_a_database(shop: Path) -> None:
    with pytest.raises(MeritError, match="only one SELECT is allowed; not authorized: DELETE"):
        Sql("sqlite:///shop.db", "DELETE FROM sales").read()
    with pytest.raises(MeritError, match=r"the file 'none\.db' is not there"):
        Sql("sqlite:///none.db", QUERY).read()
    assert not Path("none.db").exists()


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("postgresql://me:secret@127.0.0.1/shop", QUERY, "the url holds a password"),
        ("postgresql://me@127.0.0.1/shop?password=secret", QUERY, "the url holds a password"),
        ("shop.db", QUERY, "the url is not one of a database"),
        ("sqlite:///shop.db", "SELECT nope FROM sales", "no such column: nope"),
        ("sqlite:///shop.db", "SELECT id, id FROM sales", "appears more than once"),
        ("mysql://me:secret@127.0.0.1/shop", QUERY, "found a url of 'mysql'; allowed: sqlite:///shop.db or postgresql"),
        ("postgresql+psycopg2://me@127.0.0.1/shop", QUERY, r"found a url of 'postgresql\+psycopg2'"),
        ("sqlite://", QUERY, "a url of SQLite names a file"),
        ("sqlite:///:memory:", QUERY, "a url of SQLite names a file"),
        ("sqlite:///file:/any.db?uri=true&mode=rwc", QUERY, "a url of SQLite names a file"),
        ("sqlite:///file:any.db", QUERY, "a url of SQLite names a file"),
        ("sqlite:///shop.db?mode=rwc", QUERY, "a url of SQLite names a file"),
        ("sqlite:////etc/shop.db", QUERY, "data.source.url: found path '/etc/shop.db'; allowed: a path inside"),
        ("sqlite:///../shop.db", QUERY, "data.source.url: found path '../shop.db'"),
        ("sqlite:///outside.db", QUERY, "found path 'outside.db', which leads to '/etc/hostname'"),
        ("sqlite:///.git/shop.db", QUERY, "which is hidden"),
        ("postgresql+psycopg://me@h/shop?passfile=/etc/passwd", QUERY, "the url has the parameter 'passfile'; allowed"),
        ("postgresql+psycopg://me@h/shop?options=-crole=admin", QUERY, "the url has the parameter 'options'"),
        ("postgresql+psycopg://me@h/shop?sslkey=/etc/key", QUERY, "the url has the parameter 'sslkey'"),
        ("postgresql+psycopg://evil/shop?service=shop", QUERY, "the url has a service and a host"),
        ("sqlite:///shop.db", "SELECT * FROM sales WHERE id > 99", "gives no rows; correct the query"),
        ("sqlite:///shop.db", "", "it gives no rows; give a SELECT"),
        ("sqlite:///shop.db", "SELECT 1; DROP TABLE sales", "You can only execute one statement at a time"),
        ("sqlite:///shop.db", "SELECT '\0'", "the query holds a NUL character"),
    ],
)
def test_what_can_not_be_read_is_told_in_a_line_that_holds_no_password(
    shop: Path, url: str, query: str, says: str
) -> None:
    Path("outside.db").symlink_to("/etc/hostname")
    with pytest.raises(MeritError, match=says) as caught:
        hash_source({"_target_": "merit.data.sources.Sql", "url": url, "query": query})
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
