import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from merit.config.compose import fingerprint
from merit.config.schema import Lock
from merit.data.ingest import ingest
from merit.data.sources import Sql
from merit.errors import MeritError
from tests.postgres import server

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
    before = fingerprint(source)
    assert before == fingerprint(source)
    _fill(shop, rows)
    assert fingerprint(source) != before


def test_ingest_refuses_rows_that_changed_since_the_lock_was_made(shop: Path, make_lock: Callable[..., Lock]) -> None:
    def edit(values: dict) -> None:
        source = {"_target_": "merit.data.sources.Sql", "url": "sqlite:///shop.db", "query": QUERY}
        columns = {"day": {"type": "datetime"}, "shop": {"type": "string", "feature": "category", "missing": 0.5}}
        values["data"] |= {"source": source, "fingerprint": fingerprint(source), "time": "day", "columns": columns}
        values["data"]["target"] = {"name": "large", "sql": "id > 1"}
        values["data"]["contract"]["unique"] = []
        values["evaluate"]["slices"] = []

    data = make_lock(edit).data
    assert ingest(data)["large"].to_list() == [1.0, 0.0, 1.0]
    _fill(shop, ROWS[:2])
    with pytest.raises(MeritError, match="the data changed; 'merit compose' with the overrides in use takes"):
        ingest(data)


def test_a_source_can_not_write_or_make_a_database(shop: Path) -> None:
    with pytest.raises(MeritError, match="attempt to write a readonly database"):
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
        ("mysql://me@127.0.0.1/shop", QUERY, "the driver 'MySQLdb' is not installed"),
    ],
)
def test_what_can_not_be_read_is_told_in_a_line_that_holds_no_password(
    shop: Path, url: str, query: str, says: str
) -> None:
    with pytest.raises(MeritError, match=says) as caught:
        fingerprint({"_target_": "merit.data.sources.Sql", "url": url, "query": query})
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of these tests' own."""
    with server() as url:
        yield url


def _engine(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool)


@pytest.fixture
def sales(postgres: str) -> str:
    """The URL of a PostgreSQL database that holds the table `sales`."""
    with _engine(postgres).begin() as database:
        database.execute(text("DROP TABLE IF EXISTS sales"))
        database.execute(
            text(
                "CREATE TABLE sales (id bigint, shop text, at timestamp, day date, amount numeric(8, 2), gift boolean, "
                "key uuid, size real)"
            )
        )
        database.execute(
            text(
                "INSERT INTO sales SELECT i, CASE WHEN i % 7 > 0 THEN 'shop ' || i % 3 END, "
                "timestamp '2024-01-01' + i * interval '1 hour', date '2024-01-01' + (i / 24)::int, i / 3.0, "
                "i % 2 = 0, gen_random_uuid(), i FROM generate_series(1, 2000) AS i"
            )
        )
    return postgres


def test_postgresql_is_read_with_its_types(sales: str) -> None:
    table = Sql(sales, "SELECT * FROM sales ORDER BY id DESC").read().sort("id")
    kinds = [table.schema[name].base_type() for name in ("id", "shop", "at", "day", "amount", "gift", "key", "size")]
    assert kinds == [pl.Int64, pl.String, pl.Datetime, pl.Date, pl.Decimal, pl.Boolean, pl.String, pl.Float64]
    assert table.height == 2000
    assert table["shop"].null_count() == 285
    assert table["at"][0] == datetime(2024, 1, 1, 1)


def test_postgresql_gives_the_same_rows_the_same_fingerprint(sales: str) -> None:
    first = Sql(sales, QUERY).fingerprint()
    with _engine(sales).begin() as database:
        # A row that is written again stands at the end of the table.
        database.execute(text("UPDATE sales SET size = size WHERE id < 10"))
    assert Sql(sales, QUERY).fingerprint() == first
    with _engine(sales).begin() as database:
        database.execute(text("UPDATE sales SET size = -1 WHERE id = 10"))
    assert Sql(sales, QUERY).fingerprint() != first


def test_postgresql_is_not_written_to(sales: str) -> None:
    with pytest.raises(MeritError, match="read-only transaction"):
        Sql(sales, "DELETE FROM sales RETURNING id").read()


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(MeritError, match="connection failed") as caught:
        Sql("postgresql+psycopg://shop@127.0.0.1:1/shop", QUERY).read()
    assert "\n" not in str(caught.value)
