from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit import artifacts
from merit.config.compose import hash_source
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.data.ingest import ingest
from merit.errors import MeritError
from tests.conftest import put

MakeData = Callable[..., Data]


@pytest.fixture
def make_data(workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock]) -> MakeData:
    """The section data of a lock, with the tiny data (or another table) beside it as the file of the source."""

    def make(rows: pl.DataFrame = table, **edits: Any) -> Data:
        rows.write_parquet("source.parquet")

        def edit(values: dict[str, Any]) -> None:
            values["data"]["fingerprint"] = hash_source(values["data"]["source"])
            put(values["data"], edits)

        return make_lock(edit).data

    return make


def _refusal(data: Data) -> str:
    with pytest.raises(MeritError) as caught:
        ingest(data)
    assert caught.value.exit_code == 2
    assert not artifacts.RAW.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_declared_columns_and_the_target_are_kept_in_their_order_and_types(
    make_data: MakeData, table: pl.DataFrame
) -> None:
    made = ingest(make_data())
    assert made.schema == {
        "when": pl.Datetime("us"),
        "shop": pl.String,
        "kind": pl.Int64,
        "size": pl.Float64,
        "weight": pl.Float64,
        "late": pl.Float64,
    }
    assert made["late"].to_list() == [float(delay >= 10) for delay in table["delay"]]
    assert made.height == table.height
    assert artifacts.read_table(artifacts.RAW, "ingest").equals(made)


def test_the_window_includes_both_of_its_days(make_data: MakeData) -> None:
    made = ingest(make_data(window={"start": "2024-01-10", "end": "2024-01-11"}))
    assert [str(time) for time in made["when"]] == [
        "2024-01-10 00:00:00",
        "2024-01-10 12:00:00",
        "2024-01-11 00:00:00",
        "2024-01-11 12:00:00",
    ]


def test_the_filter_keeps_the_rows_where_it_holds(make_data: MakeData, table: pl.DataFrame) -> None:
    made = ingest(make_data(filter="size IS NOT NULL AND shop = 'north'"))
    assert made.height == table.filter(pl.col("size").is_not_null(), pl.col("shop") == "north").height > 0
    assert made["shop"].unique().to_list() == ["north"]
    assert made["size"].null_count() == 0


def test_the_filter_and_the_target_may_use_columns_that_are_not_kept(make_data: MakeData) -> None:
    made = ingest(make_data(filter="delay > 0"))
    assert "delay" not in made.columns
    assert 0 < made["late"].mean() < 1


def test_rows_are_ordered_by_time_and_keys_and_otherwise_as_in_the_file(make_data: MakeData) -> None:
    rows = pl.DataFrame(
        {
            "when": pl.Series(["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-01"]).str.to_date(),
            "shop": ["c", "b", "a", "a"],
            "kind": [1, 2, 3, 4],
            "size": [1.0, 2.0, 3.0, 4.0],
            "weight": [1.0, 2.0, 3.0, 4.0],
            "delay": [1, 2, 3, 4],
        }
    )
    assert ingest(make_data(rows, contract__unique=["shop"]))["kind"].to_list() == [3, 4, 2, 1]
    assert ingest(make_data(rows, contract__unique=[]))["kind"].to_list() == [2, 3, 4, 1]


def test_each_row_keeps_its_place_in_the_source(make_data: MakeData, table: pl.DataFrame) -> None:
    made = ingest(make_data(table.reverse(), filter="size IS NOT NULL"))
    places = artifacts.read_table(artifacts.SOURCE_ROWS, "ingest")["row"]
    assert table.reverse()[places].select("when", "size").equals(made.select("when", "size"))
    assert pl.read_parquet_metadata(artifacts.SOURCE_ROWS)["raw"] == artifacts.hash_file(artifacts.RAW)


def test_the_same_data_gives_the_same_bytes(make_data: MakeData) -> None:
    data = make_data()
    ingest(data)
    first = artifacts.RAW.read_bytes(), artifacts.SOURCE_ROWS.read_bytes()
    ingest(data)
    assert (artifacts.RAW.read_bytes(), artifacts.SOURCE_ROWS.read_bytes()) == first


def test_nan_counts_as_missing(make_data: MakeData, table: pl.DataFrame) -> None:
    made = ingest(make_data(table.with_columns(weight=pl.lit(float("nan")))))
    assert made["weight"].null_count() == made.height


def test_values_are_cast_to_the_declared_types(make_data: MakeData, table: pl.DataFrame) -> None:
    rows = table.with_columns(pl.col("kind").cast(pl.Int8), pl.col("weight").cast(pl.Float32), pl.lit(1).alias("size"))
    made = ingest(make_data(rows))
    assert (made["kind"].dtype, made["weight"].dtype, made["size"].dtype) == (pl.Int64, pl.Float64, pl.Float64)


def test_a_missing_column_is_told_with_the_one_that_was_meant(make_data: MakeData, table: pl.DataFrame) -> None:
    message = _refusal(make_data(table.rename({"weight": "weigth"})))
    assert message.startswith(
        "data.columns.weight: the source has no column 'weight'; did you mean 'weigth'? allowed: delay, kind, "
    )


def test_a_missing_time_column_is_told_with_the_one_that_was_meant(make_data: MakeData, table: pl.DataFrame) -> None:
    assert _refusal(make_data(table.rename({"when": "whenn"}))).startswith(
        "data.columns.when: the source has no column 'when'; did you mean 'whenn'?"
    )


def test_a_time_column_that_is_no_time_is_refused(make_data: MakeData, table: pl.DataFrame) -> None:
    message = _refusal(make_data(table.with_columns(when=pl.lit("soon"))))
    assert message == (
        "data.columns.when: 240 cells can't be read as a datetime: 'soon' (row 0), 'soon' (row 1), 'soon' (row 2) and "
        "237 more; 2024-01-31 and 2024-01-31T15:30 can be read; declare null_values: ['soon'] if they mean that there "
        "is no value, or correct the data"
    )


def test_values_of_another_type_are_refused(make_data: MakeData, table: pl.DataFrame) -> None:
    message = _refusal(make_data(table.with_columns(kind=pl.lit("many"))))
    assert message.startswith("data.columns.kind: 240 cells can't be read as an integer: 'many' (row 0), ")


def test_a_fraction_is_not_cut_to_an_integer(make_data: MakeData, table: pl.DataFrame) -> None:
    message = _refusal(make_data(table.with_columns(kind=pl.lit(1.5))))
    assert message.startswith("data.columns.kind: ")
    assert "integer" in message


def test_an_infinite_number_is_refused(make_data: MakeData, table: pl.DataFrame) -> None:
    first = pl.int_range(pl.len()) == 0
    rows = table.with_columns(weight=pl.when(first).then(float("inf")).otherwise("weight"))
    message = _refusal(make_data(rows))
    assert message.startswith("data.columns.weight: ")
    assert "infinite" in message


@pytest.mark.parametrize("key", ["filter", "target__sql"])
def test_a_column_that_the_source_lacks_is_told_with_the_columns(make_data: MakeData, key: str) -> None:
    assert _refusal(make_data(**{key: "sizes > 3"})) == (
        f"data.{key.replace('__', '.')}: the source has no column 'sizes'; did you mean 'size'? "
        "allowed: delay, kind, shop, size, weight, when"
    )


def test_a_filter_that_is_not_true_or_false_is_refused(make_data: MakeData) -> None:
    message = _refusal(make_data(filter="kind + 1"))
    assert message.startswith("data.filter: 'kind + 1'")
    assert "true or false" in message


@pytest.mark.parametrize("key", ["filter", "target__sql"])
def test_an_expression_that_fails_on_the_rows_is_told(make_data: MakeData, key: str) -> None:
    message = _refusal(make_data(**{key: "CAST(shop AS INTEGER) > 1"}))
    assert (
        message
        == f"data.{key.replace('__', '.')}: CAST: 240 values are no Int64; TRY_CAST gives NULL for them; at character 1"
    )


def test_a_target_that_is_not_true_or_false_is_refused(make_data: MakeData) -> None:
    assert _refusal(make_data(target__sql="delay + 1")) == (
        "data.target.sql: 'delay + 1' gives Float64; it must be true or false"
    )


def test_a_target_that_is_unknown_for_some_rows_is_refused(make_data: MakeData, table: pl.DataFrame) -> None:
    assert _refusal(make_data(target__sql="size > 50")) == (
        f"data.target.sql: 'size > 50' is unknown for {table['size'].null_count()} rows; "
        "drop them by data.filter (IS NOT NULL)"
    )


def test_a_target_that_is_unknown_only_for_filtered_rows_is_taken(make_data: MakeData) -> None:
    assert set(ingest(make_data(target__sql="size > 50", filter="size IS NOT NULL"))["late"]) == {0.0, 1.0}


@pytest.mark.parametrize(
    "edits", [{"filter": "delay > 1000000"}, {"window": {"start": "2020-01-01", "end": "2020-01-02"}}]
)
def test_an_empty_result_is_refused(make_data: MakeData, edits: dict[str, Any]) -> None:
    assert _refusal(make_data(**edits)) == (
        "data: no row is left after data.window and data.filter; widen them in conf/data"
    )


def test_data_that_changed_since_the_lock_was_made_is_refused(make_data: MakeData, table: pl.DataFrame) -> None:
    data = make_data()
    table.head(100).write_parquet("source.parquet")
    message = _refusal(data)
    assert message.startswith("data.source: the files read are sha256:")
    assert f"but the lock was made for {data.fingerprint}: the data changed; 'merit compose'" in message


def test_a_missing_file_is_refused(make_data: MakeData) -> None:
    data = make_data()
    Path("source.parquet").unlink()
    assert _refusal(data) == ("data.source: the file 'source.parquet' is not there; correct the path in conf/data")


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("Parquet", b"not a table"),
        ("Parquet", b""),
        ("Csv", b""),
        ("Parquet", b"PAR1the-secretPAR1"),
    ],
)
def test_a_corrupt_file_is_told_in_one_line(
    workdir: Path, make_lock: Callable[..., Lock], source: str, content: bytes
) -> None:
    Path("broken").write_bytes(content)

    def edit(values: dict[str, Any]) -> None:
        values["data"]["source"] = {"_target_": f"merit.data.sources.{source}", "path": "broken"}
        values["data"]["fingerprint"] = hash_source(values["data"]["source"])

    message = _refusal(make_lock(edit).data)
    assert message.startswith(f"data.source: merit.data.sources.{source} can't read its file: ")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"when,shop\n1,2,3,4\n", "broken: line 2 has 4 fields, the header has 2"),
        (b"when,shop\n1\n", "broken: line 2 has 1 field, the header has 2"),
        (b"when,shop\n\xff\xfe,\xff\n", "broken: its text is not in utf-8"),
    ],
)
def test_lines_that_are_not_those_of_the_header_are_told(
    workdir: Path, make_lock: Callable[..., Lock], content: bytes, words: str
) -> None:
    Path("broken").write_bytes(content)

    def edit(values: dict[str, Any]) -> None:
        values["data"]["source"] = {"_target_": "merit.data.sources.Csv", "path": "broken"}
        values["data"]["fingerprint"] = hash_source(values["data"]["source"])

    assert _refusal(make_lock(edit).data).startswith(words)


def test_a_separator_of_two_characters_is_told_in_one_line(workdir: Path) -> None:
    Path("a.csv").write_text("a;;b\n1;;2\n")
    with pytest.raises(MeritError, match="separator: found ';;'; allowed: one character"):
        hash_source({"_target_": "merit.data.sources.Csv", "path": "a.csv", "separator": ";;"})


def test_a_refusal_leaves_the_former_table_in_place(make_data: MakeData) -> None:
    ingest(make_data())
    before = artifacts.RAW.read_bytes()
    with pytest.raises(MeritError):
        ingest(make_data(filter="nothing > 3"))
    assert artifacts.RAW.read_bytes() == before


REGRESSION = {"name": "late", "task": "regression", "sql": "delay * 2"}


def _other_task(make_lock: Callable[..., Lock], target: dict[str, Any], rows: pl.DataFrame, **edits: Any) -> Data:
    rows.write_parquet("source.parquet")

    def edit(values: dict[str, Any]) -> None:
        values["data"]["fingerprint"] = hash_source(values["data"]["source"])
        values["data"]["target"] = target
        put(values["data"], edits)
        values["gate"] |= {"floors": {}, "champion": []}
        metric = "r2" if target["task"] == "regression" else "accuracy"
        values["gate"]["baseline"] = {"metric": metric, "margin": 0.1}
        if target["task"] == "regression":
            values["gate"]["calibration"] = None
            values["trainer"]["monitor"] = "rmse"

    return make_lock(edit).data


def test_the_target_of_a_regression_is_the_number_itself(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    made = ingest(_other_task(make_lock, REGRESSION, table))
    assert made["late"].to_list() == (table["delay"] * 2).to_list()


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("shop", "data.target.sql: 'shop' gives String; a regression needs a number"),
        ("delay / 0", "data.target.sql: 'delay / 0' is infinite for 240 rows; drop them by data.filter"),
        (
            "size",
            "data.target.sql: 'size' is unknown for 24 rows; drop them by data.filter (IS NOT NULL)",
        ),
    ],
)
def test_a_target_that_is_no_number_is_refused(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock], sql: str, line: str
) -> None:
    assert _refusal(_other_task(make_lock, {**REGRESSION, "sql": sql}, table)) == line


@pytest.mark.parametrize(
    ("sql", "classes"), [("shop", ["south", "north", "west"]), ("kind", [3, 1, 2]), ("kind * 1.0", [1, 2, 3])]
)
def test_the_target_of_several_classes_is_their_place(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock], sql: str, classes: list[Any]
) -> None:
    made = ingest(_other_task(make_lock, {"name": "y", "task": "multiclass", "sql": sql, "classes": classes}, table))
    column = table[sql.split(maxsplit=1)[0]].to_list()
    assert made["y"].to_list() == [float(classes.index(value)) for value in column]


def test_a_class_that_is_not_declared_is_refused_by_name(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    target = {"name": "y", "task": "multiclass", "sql": "shop", "classes": ["north", "east"]}
    assert _refusal(_other_task(make_lock, target, table)) == (
        "data.target.sql: 'shop' gives south, west, which data.target.classes doesn't name; allowed: north, east; "
        "name them, or drop such rows by data.filter"
    )


def test_a_table_without_a_time_keeps_the_order_of_its_file(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    split = {"by": "random", "validation": 0.2, "test": 0.2}
    turned = table.reverse()
    made = ingest(_other_task(make_lock, REGRESSION, turned, time=None, window=None, split=split, contract__unique=[]))
    assert made["when"].to_list() == turned["when"].to_list()


@pytest.mark.parametrize(
    ("more", "repeated"),
    [
        ({}, 200),
        ({"order": range(240)}, 0),
        ({"": range(240)}, 200),
        ({"Unnamed: 0": range(240)}, 200),
        ({"index": [7] * 240}, 200),
        ({"index": [i % 120 for i in range(240)]}, 120),
    ],
    ids=["alike", "an id", "a nameless count", "pandas' count", "a constant", "another index"],
)
def test_how_many_rows_repeat_another_one_is_told_of_the_sources_rows(
    make_data: MakeData, table: pl.DataFrame, more: dict[str, Any], repeated: int
) -> None:
    alike = pl.concat([table.head(40)] * 6).with_columns(pl.Series(name, values) for name, values in more.items())
    ingest(make_data(alike, contract__unique=[]))
    assert pl.read_parquet_metadata(artifacts.RAW)[artifacts.DUPLICATES_KEY] == str(repeated)


def test_rows_that_the_filter_leaves_out_repeat_nothing(make_data: MakeData, table: pl.DataFrame) -> None:
    twice = pl.concat([table, table])
    ingest(make_data(twice, filter="kind = 1", contract__unique=[]))
    expected = table.filter(pl.col("kind") == 1).height
    assert pl.read_parquet_metadata(artifacts.RAW)[artifacts.DUPLICATES_KEY] == str(expected)


IMAGE = {"type": "array", "shape": [2, 2], "feature": "array"}


def test_arrays_are_kept_whatever_they_are_stored_as(make_data: MakeData, table: pl.DataFrame) -> None:
    images = [[[i, 1], [2, 3]] for i in range(table.height)]
    for stored in (pl.Series("image", images), pl.Series("image", images, dtype=pl.Array(pl.Int64, (2, 2)))):
        made = ingest(make_data(table.with_columns(stored), columns__image=IMAGE))
        assert made["image"].to_list() == images
        assert made.schema["image"] == pl.Array(pl.Float64, (2, 2))


@pytest.mark.parametrize(
    "value", [[[1, 2, 3]], [[1.0, float("nan")], [2, 3]], [[1.0, float("inf")], [2, 3]], [[1.0, None], [2, 3]], None]
)
def test_arrays_of_another_shape_or_with_holes_are_refused(
    make_data: MakeData, table: pl.DataFrame, value: Any
) -> None:
    images = pl.Series("image", [value, *[[[0.0, 1.0], [2.0, 3.0]]] * (table.height - 1)])
    refusal = _refusal(make_data(table.with_columns(images), columns__image=IMAGE))
    assert refusal.startswith("data.columns.image: 1 cell can't be read as an array of the shape [2, 2]: ")
    assert "(row 0); correct the data" in refusal
