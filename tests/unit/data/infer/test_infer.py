import errno
import shutil
import sqlite3
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from merit import artifacts
from merit.cli import main
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.data.infer import InferredConfig, infer
from merit.data.infer.guess import select_features
from merit.data.infer.plan import estimate_chance_duplicates
from merit.data.ingest import ingest
from merit.errors import MeritError

ROWS = 400


@pytest.fixture
def shop(conf: Path) -> dict[str, Any]:
    """Columns for 400 rows; the target `returned` follows `plan` a little."""
    draw = np.random.default_rng(0)
    plan = draw.choice(["a", "b", "c"], ROWS)
    return {
        "when": [datetime(2024, 1, 1) + timedelta(hours=6 * i) for i in range(ROWS)],
        "plan": plan.tolist(),
        "amount": draw.uniform(0, 100, ROWS).round(2).tolist(),
        "gift": (draw.random(ROWS) < 0.3).tolist(),
        "returned": np.where(draw.random(ROWS) < 0.2 + 0.3 * (plan == "a"), "yes", "no").tolist(),
    }


def _infer(columns: dict[str, Any], target: str = "returned", **how: Any) -> tuple[InferredConfig, Lock]:
    """Infer from these columns as a CSV file; return what was said, and the lock that comes of it."""
    pl.DataFrame(columns, strict=False).write_csv("shop.csv")
    found = infer("shop.csv", target, **how)
    return found, compose([f"experiment={found.name}"])


def _left_out(found: InferredConfig) -> dict[str, str]:
    return {guess.name: guess.left_out for guess in found.columns if guess.left_out is not None}


def test_a_table_becomes_a_configuration_that_composes(shop: dict[str, Any]) -> None:
    found, lock = _infer(shop, time="when")
    assert found.files == [Path("conf/data/shop.yaml"), Path("conf/experiment/shop.yaml")]
    assert lock.name == "shop"
    assert lock.data.source.arguments == {"path": "shop.csv"}
    kinds = {name: (column.type, column.feature) for name, column in lock.data.columns.items()}
    assert kinds == {
        "when": ("datetime", "none"),
        "plan": ("string", "category"),
        "amount": ("number", "number"),
        "gift": ("boolean", "number"),
    }
    assert (lock.data.target.task, lock.data.target.sql) == ("binary", "returned = 'yes'")
    assert lock.evaluate.slices == ["plan"]
    assert lock.gate.floors["roc_auc"] == 0.5
    assert lock.data.contract.rows.min <= ROWS <= lock.data.contract.rows.max


def test_the_split_by_time_gives_the_parts_their_shares_of_rows(shop: dict[str, Any]) -> None:
    _, lock = _infer(shop, time="when")
    days = [when.date() for when in shop["when"]]
    split = lock.data.split
    assert split.by == "time"
    assert sum(day <= split.train_until for day in days) / ROWS == pytest.approx(0.6, abs=0.01)
    assert sum(day <= split.validation_until for day in days) / ROWS == pytest.approx(0.8, abs=0.01)
    assert lock.data.window is not None
    assert (split.test_until, lock.data.window.start, lock.data.window.end) == (days[-1], days[0], days[-1])


def test_rows_of_too_few_days_are_split_by_lot_and_it_is_said(shop: dict[str, Any]) -> None:
    found, lock = _infer({**shop, "when": [date(2024, 1, 1 + i % 2) for i in range(ROWS)]}, time="when")
    assert lock.data.split.by == "random"
    assert any("split by lot instead" in note for note in found.notes)


def test_rows_without_a_time_are_split_by_lot(shop: dict[str, Any]) -> None:
    _, lock = _infer(shop)
    assert lock.data.split.model_dump() == {"by": "random", "validation": 0.2, "test": 0.2, "seed": 0}
    assert lock.data.columns["when"].feature == "time"


def test_what_the_file_says_is_what_ingest_reads(shop: dict[str, Any]) -> None:
    _, lock = _infer(
        {**shop, "amount": [None, *shop["amount"][1:]], "returned": [None, *shop["returned"][1:]]}, time="when"
    )
    table = ingest(lock.data)
    assert table.height == ROWS - 1
    assert table["returned"].sum() == shop["returned"][1:].count("yes")


@pytest.mark.parametrize(
    ("values", "sql"),
    [
        (["yes", "no"], "y = 'yes'"),
        (["lost", "kept"], "y = 'lost'"),
        (["it's", "ok"], "y = 'it''s'"),
        (["???", "${x}"], "y = '???'"),
        ([1, 0], "y = 1"),
        ([2, 1], "y = 2"),
        ([True, False], "y"),
        (["no", "yes"], "y = 'yes'"),
    ],
)
def test_two_values_are_a_yes_and_a_no(shop: dict[str, Any], values: list[Any], sql: str) -> None:
    rare = [values[0] if i % 3 == 0 else values[1] for i in range(ROWS)]
    _, lock = _infer({**shop, "y": rare}, target="y")
    assert (lock.data.target.task, lock.data.target.sql) == ("binary", sql)


@pytest.mark.parametrize(
    ("values", "classes", "sql"),
    [
        (["c", "a", "b"], ["a", "b", "c"], "kind"),
        (list(range(10)), list(range(10)), "CAST(kind AS BIGINT)"),
        (["???", "${x}", "\\${y}"], ["???", "${x}", "\\${y}"], "kind"),
        (["yes", "1", "null"], ["1", "null", "yes"], "kind"),
    ],
)
def test_few_values_are_classes(shop: dict[str, Any], values: list[Any], classes: list[Any], sql: str) -> None:
    kinds = {**shop, "kind": [values[i % len(values)] for i in range(ROWS)]}
    pl.DataFrame(kinds).write_parquet("shop.parquet")
    infer("shop.parquet", "kind")
    lock = compose(["experiment=shop"])
    assert lock.data.target.task == "multiclass"
    assert (sorted(map(str, lock.data.target.classes or [])), lock.data.target.sql) == (sorted(map(str, classes)), sql)
    assert set(lock.gate.floors) == {"accuracy", "log_loss"}


def test_many_numbers_are_a_regression(shop: dict[str, Any]) -> None:
    found, lock = _infer(shop, target="amount")
    assert (lock.data.target.task, lock.data.target.sql) == ("regression", "CAST(amount AS DOUBLE)")
    assert (lock.trainer.monitor, lock.gate.floors, lock.gate.calibration) == ("rmse", {"r2": 0.0}, None)
    assert "add a column that says so" in found.target.change


def test_rare_classes_and_rows_without_a_target_are_left_out_and_said(shop: dict[str, Any]) -> None:
    kinds = ["a", "b", "c"] * ((ROWS - 7) // 3) + [None] * 4 + ["rare"] * 3
    found, lock = _infer({**shop, "kind": kinds}, target="kind")
    assert lock.data.target.classes == ["a", "b", "c"]
    assert lock.data.filter == "kind IN ('a', 'b', 'c')"
    assert any("4 of 400 rows have no target" in note for note in found.notes)
    assert any("1 rare classes (3 rows) are left out" in note for note in found.notes)
    assert found.rows == ROWS - 7


def test_a_column_of_no_use_is_left_out_with_the_reason(shop: dict[str, Any]) -> None:
    draw = np.random.default_rng(1)
    shop |= {
        "id": range(ROWS),
        "customer": draw.permutation(np.arange(100_000, 100_000 + 1000 * ROWS, 1000)).tolist(),
        "email": [f"user{i}@example.org" for i in range(ROWS)],
        "note": [f"{'what they wrote ' * 6}{i}" for i in range(ROWS)],
        "same": ["x"] * ROWS,
        "ticked": ["x" if i % 2 else None for i in range(ROWS)],
        "empty": [None] * ROWS,
        "clock": [f"{i % 24:02d}:{i % 60:02d}" for i in range(ROWS)],
        "prediction": draw.random(ROWS),
        "/x": draw.random(ROWS),
        "_target_": draw.random(ROWS),
        " ": draw.random(ROWS),
    }
    found, lock = _infer(shop, time="when")
    reasons = _left_out(found)
    for name, word in {
        "id": "identifier", "customer": "all of 6 digits", "email": "identifier", "note": "prose", "same": "same value",
        "ticked": "all cells that hold something hold the same, x",
        "empty": "no row has a value", "clock": "times of day without a day", "prediction": "rename",
        "/x": "rename", "_target_": "rename", " ": "no name",
    }.items():  # fmt: skip
        assert word in reasons[name], (name, reasons[name])
    assert set(lock.data.columns) == {"when", "plan", "amount", "gift"}
    text = Path("conf/data/shop.yaml").read_text()
    assert "\n  # email: {type: string, feature: category} # it seems to be an identifier" in text


def test_a_line_that_was_left_out_is_brought_back_by_taking_its_mark_away(shop: dict[str, Any]) -> None:
    _infer({**shop, "email": [f"user{i}@example.org" for i in range(ROWS)]})
    place = Path("conf/data/shop.yaml")
    place.write_text(place.read_text().replace("  # email: {", "  email: {"))
    assert "email" in compose(["experiment=shop"]).data.columns


def test_odd_names_and_values_come_through_as_they_are(shop: dict[str, Any]) -> None:
    draw = np.random.default_rng(2)
    names = ["a b", "a.b", "select", "yes", "1e5", "null", "é ü", "it's", "${x}", "???", "a: b", "# c", "{d}",
             "2024-01-01", "$${y}", "true", "-", "~", "x" * 300, "日本", "a,b", "@e"]  # fmt: skip
    pl.DataFrame({**shop, **{name: draw.random(ROWS) for name in names}}).write_parquet("shop.parquet")
    infer("shop.parquet", "returned", time="when")
    lock = compose(["experiment=shop"])
    assert set(names) < set(lock.data.columns)
    assert set(names) < set(ingest(lock.data).columns)


def test_a_name_that_no_row_of_json_can_have_is_left_out(shop: dict[str, Any]) -> None:
    names = ["a\nb", 'a"b', "a\\b"]
    found, _ = _infer({**shop, **{name: np.random.default_rng(0).random(ROWS) for name in names}})
    assert {name: reason for name, reason in _left_out(found).items() if name in names} == dict.fromkeys(
        names, "its name holds a quote, a backslash or a line break; rename the column"
    )


@pytest.mark.parametrize("name", ["select", "a b", 'a"b', "it's", "${x}", "é", "a.b", "from", "current_date", "Ab"])
def test_a_target_may_have_an_odd_name(shop: dict[str, Any], name: str) -> None:
    pl.DataFrame({**shop, name: [["p", "q"][i % 2] for i in range(ROWS)]}).write_parquet("shop.parquet")
    infer("shop.parquet", name, time="when")
    table = ingest(compose(["experiment=shop"]).data)
    assert set(table[name]) == {0.0, 1.0}


def test_a_category_never_seen_and_the_next_months_numbers_keep_the_contract(shop: dict[str, Any]) -> None:
    _, lock = _infer(shop)
    assert lock.data.columns["plan"].allowed is None
    assert (lock.data.columns["amount"].min, lock.data.columns["amount"].max) == (0, None)


def test_the_allowed_share_of_missing_values_is_above_the_one_seen(shop: dict[str, Any]) -> None:
    some = [None if i % 10 == 0 else value for i, value in enumerate(shop["amount"])]
    _, lock = _infer({**shop, "amount": some})
    assert 0.1 < lock.data.columns["amount"].missing < 0.2
    assert lock.data.columns["plan"].missing == 0


def test_words_for_missing_among_numbers_are_found(shop: dict[str, Any]) -> None:
    some = ["NA" if i % 10 == 0 else str(value) for i, value in enumerate(shop["amount"])]
    found, lock = _infer({**shop, "amount": some})
    assert "null_values" not in lock.data.source.arguments
    assert (lock.data.columns["amount"].type, lock.data.columns["amount"].null_values) == ("number", ["NA"])
    assert found.notes == ["'amount': 'NA' in 40 of 400 cells: read as missing (null_values)"]


def test_a_column_that_gives_the_target_away_is_kept_out_with_a_warning(shop: dict[str, Any]) -> None:
    refunded = [7.5 if value == "yes" else 0.0 for value in shop["returned"]]
    found, lock = _infer({**shop, "refunded": refunded})
    assert "refunded" not in lock.data.columns
    assert found.warnings == [
        "'refunded' gives the target away: ROC AUC 1.000 by itself. It is left out; "
        "if it is known before the answer is, take the # away from its line"
    ]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_found(shop: dict[str, Any], separator: str) -> None:
    price = [f"{i / 7:.2f}".replace(".", ",") for i in range(ROWS)]
    pl.DataFrame({**shop, "price": price}).write_csv("shop.csv", separator=separator)
    found, lock = infer("shop.csv", "returned"), compose(["experiment=shop"])
    assert lock.data.source.arguments["separator"] == separator
    assert (found.columns[-1].name, lock.data.columns["price"].decimal) == ("price", ",")


def test_a_name_that_stands_twice_in_the_header_is_told(shop: dict[str, Any]) -> None:
    pl.DataFrame({**shop, "amount2": shop["amount"][::-1]}).write_csv("shop.csv")
    text = Path("shop.csv").read_text()
    Path("shop.csv").write_text(text.replace("amount2", "amount", 1))
    found = infer("shop.csv", "returned")
    assert any("are called amount_duplicated_0" in note for note in found.notes)
    assert "amount_duplicated_0" in compose(["experiment=shop"]).data.columns


def test_times_with_a_zone_are_told(shop: dict[str, Any]) -> None:
    zoned = [f"{when:%Y-%m-%dT%H:%M:%S}+02:00" for when in shop["when"]]
    found, _ = _infer({**shop, "zoned": zoned})
    assert [note for note in found.notes if note.startswith(("'zoned'", "'when'"))] == [
        "'zoned' has times with a zone: they become UTC, here as when the model is asked",
    ]


def test_columns_without_a_name_are_left_out(shop: dict[str, Any]) -> None:
    found, _ = _infer({"": range(ROWS), **shop})
    assert _left_out(found)[""] == "it has no name; give it one"


def test_totals_in_the_last_row_are_told(shop: dict[str, Any]) -> None:
    table = {**shop, "plan": [*shop["plan"][:-1], "Total"]}
    assert _infer(table)[0].notes[0] == "the last row seems to hold totals ('Total'): take it out of the file"


def test_more_repeated_rows_than_the_gate_allows_are_told(shop: dict[str, Any]) -> None:
    found, _ = _infer({name: values[:300] + values[:100] for name, values in shop.items()})
    assert any(
        note.startswith("100 of 400 rows repeat another one whole, and the gate allows 1%") for note in found.notes
    )
    assert not _infer(shop, force=True)[0].notes


def test_repeated_rows_with_a_number_of_their_own_are_no_chance(workdir: Path) -> None:
    x = [*range(400), *range(60)]
    rows = pl.DataFrame({"x": x, "plan": [each % 3 for each in x], "y": [each % 2 for each in x]})
    assert estimate_chance_duplicates(rows) < 60 < estimate_chance_duplicates(rows.select("plan", "y"))


def test_a_name_keeps_its_digits(shop: dict[str, Any]) -> None:
    pl.DataFrame(shop).write_csv("2024_shop50.csv")
    assert infer("2024_shop50.csv", "returned").name == "shop50"


def test_dates_as_text_in_a_parquet_file_are_times(shop: dict[str, Any]) -> None:
    texts = [when.isoformat() for when in shop["when"]]
    pl.DataFrame({**shop, "when": texts, "day": [text[:10] for text in texts]}).write_parquet("shop.parquet")
    infer("shop.parquet", "returned", time="when")
    lock = compose(["experiment=shop"])
    assert lock.data.split.by == "time"
    assert lock.data.columns["day"].feature == "time"


@pytest.mark.parametrize(
    ("stored", "shape", "channels"),
    [
        (pl.Array, [4, 3], [32]),
        (pl.Array, [28, 28], [32, 64]),
        (pl.Array, [3, 64, 64], [32, 64, 64, 64]),
        (pl.Array, [32, 32, 3], [32, 64, 64]),
        (pl.List, [4, 3], [32]),
        (pl.List, [28, 28], [32, 64]),
    ],
)
def test_arrays_of_numbers_are_learned_by_convolutions_that_fit_their_size(
    shop: dict[str, Any], stored: type, shape: list[int], channels: list[int]
) -> None:
    images = pl.Series("image", np.zeros((ROWS, *shape), dtype=np.uint8))
    if stored is pl.List:
        images = pl.Series("image", images.to_list())
    pl.DataFrame(shop).with_columns(images).write_parquet("shop.parquet")
    found, lock = infer("shop.parquet", "returned"), compose(["experiment=shop"])
    column = lock.data.columns["image"]
    assert (column.type, column.feature, column.shape) == ("array", "array", shape)
    assert lock.model.target == "merit.models.networks.CNN"
    assert lock.model.arguments["channels"] == channels
    assert lock.gate.time is not None
    assert (lock.gate.time.batch_ms > 200) == (max(shape) > 4)
    assert "image" not in _left_out(found)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[1.0, 2.0]] * ROWS, "no network of merit takes arrays of 2: make a column of each number"),
        ([[[1.0, 2.0]]] * ROWS, "no network of merit takes arrays of 1x2"),
        ([[1.0] * (1 + i % 2) for i in range(ROWS)], "lists of different lengths are no feature"),
        ([["a", "b"]] * ROWS, "lists of other things than numbers are no feature"),
        ([f"images/{i}.png" for i in range(ROWS)], "names of image files, which are not opened"),
        (
            [f"the {i} words that somebody wrote" for i in range(ROWS)],
            "prose, of 6 words on average: texts are no feature",
        ),
        ([{"bytes": b"x", "path": "a"}] * ROWS, "records are no feature"),
        ([b"x"] * ROWS, "bytes are no feature"),
        ([b"\x89PNG"] * ROWS, "images as bytes, which are not opened"),
        ([{"bytes": b"\x89PNG", "path": "a"}] * ROWS, "images as bytes, which are not opened"),
        ([None, *[[[1.0, 2.0], [3.0, 4.0]]] * (ROWS - 1)], "1 rows have no array, and none can be missing"),
        ([2**60 + i % 5 for i in range(ROWS)], "400 whole numbers are beyond 2**53"),
        ([f"10-{20 + i}" for i in range(ROWS)], "ranges, such as 10-20"),
        ([f"{i}.5-" if i % 2 else f"{i}.5" for i in range(ROWS)], "numbers, some with the minus behind"),
        ([f"{i}" if i % 2 else f"word {i}" for i in range(ROWS)], "numbers (50%) and others, such as 'word "),
        ([1_600_000_000 + 60 * i for i in range(ROWS)], "seconds since 1970, it seems (from 2020-09-13 on)"),
        ([44_000 + i for i in range(ROWS)], "days as a spreadsheet counts them, it seems (from 2020-06-18 on)"),
    ],
)
def test_what_is_not_supported_is_left_out_for_the_reason_that_it_is(
    shop: dict[str, Any], values: list[Any], says: str
) -> None:
    pl.DataFrame({**shop, "date_of": values}).write_parquet("shop.parquet")
    assert says in _left_out(infer("shop.parquet", "returned"))["date_of"]


def test_arrays_of_another_size_than_the_first_are_left_out(shop: dict[str, Any]) -> None:
    images = [pl.Series(name, np.zeros((ROWS, side, side))) for name, side in {"a": 8, "b": 8, "c": 16}.items()]
    pl.DataFrame(shop).with_columns(images).write_parquet("shop.parquet")
    assert "the first column of them has another" in _left_out(infer("shop.parquet", "returned"))["c"]


def test_a_database_is_read_by_table_or_query(shop: dict[str, Any]) -> None:
    with sqlite3.connect("shop.db") as database:
        database.execute('CREATE TABLE "the orders" (day TEXT, plan TEXT, amount REAL, returned TEXT)')
        rows = zip(
            (w.date().isoformat() for w in shop["when"]), shop["plan"], shop["amount"], shop["returned"], strict=True
        )
        database.executemany('INSERT INTO "the orders" VALUES (?, ?, ?, ?)', list(rows))
    database.close()
    found = infer("sqlite:///shop.db", "returned", time="day", table="the orders")
    assert found.name == "the_orders"
    data = compose(["experiment=the_orders"]).data
    assert data.source.arguments == {"url": "sqlite:///shop.db", "query": 'SELECT * FROM "the orders"'}
    assert ingest(data).height == ROWS
    infer(
        "sqlite:///shop.db", "returned", name="some", query='SELECT plan, returned FROM "the orders" WHERE amount > 50'
    )
    assert set(compose(["experiment=some"]).data.columns) == {"plan"}


def _bytes(content: bytes) -> Callable[[], str]:
    def write() -> str:
        Path("bad.csv").write_bytes(content)
        return "bad.csv"

    return write


@pytest.mark.parametrize(
    ("place", "how", "says"),
    [
        (lambda: "none.csv", {}, "none.csv: there is no such file"),
        (_bytes(b""), {}, "bad.csv: is empty"),
        (_bytes(b"a,returned\n"), {}, "holds column names but no row"),
        (_bytes(b"a,returned\n1,caf\x9d\n"), {}, "neither UTF-8 nor windows-1252 (byte 0x9d)"),
        (
            _bytes(b"a,returned\n1,2\n1,2,3\n"),
            {},
            "bad.csv: line 3 has 3 fields, the header has 2",
        ),
        (_bytes(b"a,returned\n" + b"1,2\n2,3\n" * 5), {}, "found 10 rows that can be used; at least 30"),
        (_bytes(b"a,returned\n" + b"1,2\n" * 50), {}, "holds only 2; a model needs two values"),
        (
            _bytes(b"a,returned\n" + b"1,2\n1,3\n" * 50),
            {},
            "no column is left to learn from (a: every row has the same",
        ),
        (_bytes(b"returned\n" + b"2\n3\n" * 50), {}, "no column is left to learn from (the target is the only one)"),
        (
            lambda: "shop.csv",
            {"target": "retuned"},
            "--target: the table has no column 'retuned'; did you mean 'returned'?",
        ),
        (lambda: "shop.csv", {"target": "when"}, "--target when: holds Datetime"),
        (lambda: "shop.csv", {"time": "plan"}, "--time: 'plan' holds String, no dates or times"),
        (lambda: "shop.csv", {"time": "returned"}, "--time: 'returned' is the target too"),
        (lambda: "shop.csv", {"name": "My Shop"}, "--name: found 'My Shop'"),
        (lambda: "shop.csv", {"table": "x"}, "--query and --table are for a database"),
        (
            lambda: "sqlite:///shop.db",
            {},
            "either --query 'SELECT ...' or --table NAME; found neither",
        ),
        (lambda: "sqlite:///shop.db", {"table": "x", "query": "SELECT 1"}, "found both"),
        (lambda: "postgresql://u:pw@127.0.0.1/x", {"table": "x"}, "the url holds a password"),
        (lambda: "sqlite:///shop.db", {"query": "SELECT 1"}, "makes no name for the model; give one with --name"),
    ],
)
def test_what_can_not_be_inferred_is_told_in_one_line_and_nothing_is_written(
    shop: dict[str, Any], place: Callable[[], str], how: dict[str, Any], says: str
) -> None:
    pl.DataFrame(shop).write_csv("shop.csv")
    before = sorted(Path("conf").rglob("*"))
    with pytest.raises(MeritError) as caught:
        infer(place(), **({"target": "returned"} | how))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(Path("conf").rglob("*")) == before


def test_a_target_of_too_many_words_is_refused(shop: dict[str, Any]) -> None:
    with pytest.raises(MeritError, match="classes are 2 to 200 such values"):
        _infer({**shop, "y": [f"v{i}" for i in range(ROWS)]}, target="y")


def test_files_that_are_there_are_written_over_only_by_force(shop: dict[str, Any]) -> None:
    _infer(shop)
    before = Path("conf/data/shop.yaml").read_bytes()
    with pytest.raises(MeritError, match=r"conf/data/shop\.yaml: is there already"):
        _infer(shop, time="when")
    assert Path("conf/data/shop.yaml").read_bytes() == before
    _infer(shop, time="when", force=True)
    assert Path("conf/data/shop.yaml").read_bytes() != before


@pytest.mark.parametrize("force", [False, True])
def test_both_files_are_written_or_none(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    if force:
        _infer(shop)
    before = {path: path.read_bytes() for path in Path("conf").rglob("*.yaml")}
    write = artifacts.write_text

    def fail(path: Path, text: str) -> None:
        if path.parent.name == "experiment":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(artifacts, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        _infer(shop, time="when", force=force)
    assert {path: path.read_bytes() for path in Path("conf").rglob("*.yaml")} == before


def test_outside_a_project_nothing_is_written(shop: dict[str, Any]) -> None:
    shutil.rmtree("conf")
    with pytest.raises(MeritError, match=r"conf/config\.yaml: not found"):
        _infer(shop)
    assert not Path("conf").exists()


@pytest.mark.parametrize("rows", [50, 400, 20_000])
def test_thresholds_and_training_fit_the_number_of_rows(shop: dict[str, Any], rows: int) -> None:
    draw = np.random.default_rng(0)
    columns = {"x": draw.normal(size=rows), "k": draw.choice(["a", "b"], rows), "y": draw.random(rows) < 0.4}
    _, lock = _infer(columns, target="y")
    steps = lock.trainer.max_epochs * -(-rows * 0.6 // lock.trainer.batch_size)
    assert 100 <= steps <= 3000
    assert lock.evaluate.slice_min_rows <= max(20, rows * 0.2 / 2)
    assert (lock.gate.calibration or 0) > 0.05


def test_hundreds_of_columns_are_no_trouble(shop: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    found, lock = _infer({**shop, **{f"x{i}": draw.normal(size=ROWS) for i in range(300)}})
    assert len(list(select_features(found.columns))) == 304
    assert len(lock.data.columns) == 304


def test_a_fault_in_the_experiment_is_shown_with_its_file_and_line(shop: dict[str, Any]) -> None:
    _infer(shop)
    place = Path("conf/experiment/shop.yaml")
    place.write_text(place.read_text().replace("slice_min_rows: ", "slice_min_rows: -"))
    line = next(i for i, text in enumerate(place.read_text().splitlines(), 1) if "slice_min_rows" in text)
    with pytest.raises(MeritError, match=rf"conf/experiment/shop\.yaml:{line}: evaluate\.slice_min_rows"):
        compose(["experiment=shop"])


def test_the_command_says_what_it_guessed_and_what_to_do_next(shop: dict[str, Any]) -> None:
    refunded = [7.5 if value == "yes" else 0.0 for value in shop["returned"]]
    pl.DataFrame({**shop, "id": range(ROWS), "refunded": refunded}).write_csv("shop.csv")
    done = CliRunner().invoke(main, ["infer", "shop.csv", "--target", "returned", "--time", "when"])
    assert done.exit_code == 0, done.output
    words = [line.partition(":")[0] for line in done.output.splitlines()]
    assert words == ["task", "rows", "features", "left out", "left out", "WARNING", "written", "next"]
    assert done.output.endswith("then 'merit run experiment=shop'\n")
    assert CliRunner().invoke(main, ["infer", "shop.csv", "--target", "nope"]).exit_code == 2
