import gzip
from pathlib import Path

import polars as pl
import pytest

from merit.batch import sources
from merit.errors import MeritError
from tests.unit.batch.conftest import Run, scored


def test_a_folder_is_read_in_the_order_of_names_without_what_is_hidden(workdir: Path, rows: pl.DataFrame) -> None:
    for place, name in enumerate(
        ["b/2.parquet", "a/1.parquet", "_note.parquet", ".x/3.parquet", "a/_rejected/4.parquet"]
    ):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        rows[place * 10 : place * 10 + 10].write_parquet(Path("in", name))
    Path("in/readme.txt").touch()
    found = sources.open_files("in")
    assert found.paths == ("in/a/1.parquet", "in/b/2.parquet")
    assert found.scan_files().collect()["id"].to_list() == [*range(10, 20), *range(10)]


@pytest.mark.parametrize("pattern", ["in/*.parquet", "{root}/in/*.parquet"])
def test_a_pattern_names_files(workdir: Path, rows: pl.DataFrame, pattern: str) -> None:
    Path("in").mkdir()
    for name in ("1.parquet", "2.parquet"):
        rows.write_parquet(Path("in", name))
    assert sources.open_files(pattern.format(root=workdir)).count_rows() == 480


def test_chunks_cross_files_and_each_can_be_read_alone(run: Run, rows: pl.DataFrame) -> None:
    Path("many").mkdir()
    for place, start in enumerate((0, 70, 71, 150)):
        rows[start : (70, 71, 150, 240)[place]].write_parquet(f"many/{place}.parquet")
    found = sources.open_files("many")
    chunks = list(found.locate_chunks(100))
    assert [(chunk.number, chunk.rows) for chunk in chunks] == [(0, 100), (1, 100), (2, 40)]
    assert chunks[0].pieces == (("many/0.parquet", 0, 70), ("many/1.parquet", 0, 1), ("many/2.parquet", 0, 29))
    assert pl.concat(found.read_chunk(chunk, found.read_schema()) for chunk in chunks).equals(rows)
    run("many")
    assert scored()["id"].to_list() == list(range(240))


def test_a_stream_is_cut_into_even_chunks_from_any_of_them_on(workdir: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("in.csv")
    found = sources.open_files("in.csv")
    chunks = dict(found.read_chunks(["id"], 100, 1))
    assert {number: table.height for number, table in chunks.items()} == {1: 100, 2: 40}
    assert pl.concat(chunks.values())["id"].to_list() == [str(place) for place in range(100, 240)]


def test_compressed_csv_is_read(run: Run, rows: pl.DataFrame) -> None:
    Path("in.csv.gz").write_bytes(gzip.compress(rows.write_csv().encode()))
    assert run("in.csv.gz").scored_rows == 240
    assert scored()["id"].to_list() == [str(place) for place in range(240)]


def test_names_of_folders_are_columns(run: Run, rows: pl.DataFrame) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        Path("k=1/in", f"day={day}").mkdir(parents=True)
        rows[:10].write_parquet(f"k=1/in/day={day}/0.parquet")
    run("k=1/in")
    assert scored()["day"].cast(pl.String).to_list() == ["2024-01-01"] * 10 + ["2024-01-02"] * 10
    assert "k" not in scored().columns


def test_a_folder_that_names_a_column_of_its_file_is_refused(run: Run, rows: pl.DataFrame) -> None:
    Path("in/kind=3").mkdir(parents=True)
    rows.write_parquet("in/kind=3/0.parquet")
    with pytest.raises(MeritError, match=r"^in/kind=3/0\.parquet: holds the column kind, which its folder names too"):
        run("in")
    assert run("in/**/*.parquet").scored_rows == 240  # a pattern makes no columns of folders
    assert scored()["kind"].equals(rows["kind"])


def test_the_advice_of_a_library_is_left_out() -> None:
    told = "could not parse `x` as `i64`\n\nYou might want to try:\n- increasing `infer_schema_length`"
    assert sources.get_reason(pl.exceptions.ComputeError(told)) == "could not parse `x` as `i64`"
    told = "could not append value: 1 of type: i32; make sure that all rows have the same schema or consider x"
    assert sources.get_reason(pl.exceptions.ComputeError(told)) == "could not append value: 1 of type: i32"


def test_what_a_database_advises_stays() -> None:
    assert sources.get_reason(ValueError("no column a\nHINT:  Perhaps b")) == "no column a HINT: Perhaps b"


def test_files_of_one_table_may_differ_in_how_wide_their_numbers_are(run: Run, rows: pl.DataFrame) -> None:
    Path("in").mkdir()
    rows[:120].with_columns(pl.col("kind").cast(pl.Int64)).write_parquet("in/1.parquet")
    rows[120:].with_columns(pl.col("kind").cast(pl.Int32)).write_parquet("in/2.parquet")
    assert run("in").scored_rows == 240
    assert scored().schema["kind"] == pl.Int64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing.parquet", "'nothing.parquet' is not there; allowed: a Parquet or CSV file"),
        ("none/*.csv", "'none/*.csv' is not there"),
        ("postgresql://u:pw@h/d", "found 'postgresql://…'; allowed"),
        ("in.json", "found 'in.json'; allowed"),
        ("empty.csv", "empty.csv: is empty"),
        ("bare", "bare: holds no file that ends in .parquet"),
        ("mixed", "mixed: holds Parquet and CSV files; name one kind, such as 'mixed/*.parquet'"),
    ],
)
def test_what_is_no_input_is_refused(workdir: Path, text: str, told: str) -> None:
    Path("in.json").write_text("{}")
    Path("empty.csv").touch()
    Path("bare").mkdir()
    Path("mixed").mkdir()
    for name in ("1.csv", "2.parquet"):
        Path("mixed", name).write_text("x")
    with pytest.raises(MeritError) as caught:
        sources.open_files(text)
    assert told in str(caught.value)
    assert "pw" not in str(caught.value)


def test_files_with_other_columns_are_refused(run: Run, rows: pl.DataFrame) -> None:
    Path("in").mkdir()
    rows.write_parquet("in/1.parquet")
    rows.drop("weight").write_parquet("in/2.parquet")
    with pytest.raises(MeritError, match=r"in/2\.parquet: has other columns than in/1\.parquet: weight"):
        run("in")


@pytest.mark.parametrize("name", ["cut.parquet", "late.parquet"])
def test_a_broken_file_is_told_in_a_line(run: Run, rows: pl.DataFrame, name: str) -> None:
    rows.write_parquet(name)
    whole = Path(name).read_bytes()
    half = len(whole) // 2
    Path(name).write_bytes(whole[:half] if name == "cut.parquet" else whole[:200] + bytes(300) + whole[500:])
    with pytest.raises(MeritError, match=rf"^{name}: can't be read: ") as caught:
        run(name)
    assert "\n" not in str(caught.value)


def test_the_identity_of_files_is_their_size_and_time(workdir: Path, rows: pl.DataFrame) -> None:
    rows.write_parquet("in.parquet")
    before = sources.open_files("in.parquet").get_identity()
    assert before == sources.open_files("in.parquet").get_identity()
    rows[1:].write_parquet("in.parquet")
    assert before != sources.open_files("in.parquet").get_identity()
