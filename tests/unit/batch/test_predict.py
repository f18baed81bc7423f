import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit import artifacts
from merit.batch import output, output_lock
from merit.batch.engines import local
from merit.batch.job import Job
from merit.errors import MeritError, Refused
from merit.scoring.package import Package, extract_columns
from tests.unit.batch.conftest import Run, scored


@pytest.fixture
def source(rows: pl.DataFrame, workdir: Path) -> str:
    rows.write_parquet("in.parquet")
    return "in.parquet"


def test_every_row_is_scored_once_and_says_by_what(run: Run, rows: pl.DataFrame, source: str, package: Path) -> None:
    outcome = run(source, version="tiny@v3")
    found = scored()
    assert (outcome.scored_rows, outcome.rejected_rows, outcome.was_complete) == (240, 0, False)
    assert found.select(rows.columns).equals(rows)
    loaded = Package.load(package)
    assert found["prediction"].to_list() == loaded.predict(extract_columns(rows, loaded.graph.inputs)).tolist()
    assert found.select("model", "version", "commit").unique().rows() == [("tiny", "tiny@v3", "c" * 40)]
    assert len(list(Path("out").glob("part-*.parquet"))) == 5


def test_without_a_version_the_package_is_named_by_its_digest(run: Run, source: str, package: Path) -> None:
    run(source, keep=("id",))
    assert scored().columns == ["id", "prediction", "model", "version", "commit"]
    assert scored()["version"].unique().to_list() == [artifacts.hash_package(package)]


def test_several_workers_give_the_same_parts(run: Run, source: str) -> None:
    run(source, "one")
    run(source, "three", workers=3)
    assert scored("one").equals(scored("three"))


def test_a_killed_run_goes_on_with_the_chunks_that_are_open(
    run: Run, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, "whole")
    write, done = output.Output.write_chunk, []

    def dies(self: output.Output, number: int, of: Any) -> None:
        if number == 3:
            raise KeyboardInterrupt
        done.append(number)
        write(self, number, of)

    monkeypatch.setattr(output.Output, "write_chunk", dies)
    with pytest.raises(KeyboardInterrupt):
        run(source)
    Path("out/.part-00000003.parquet.x").mkdir()  # what a kill leaves
    monkeypatch.setattr(
        output.Output, "write_chunk", lambda self, number, of: (done.append(number), write(self, number, of))
    )
    assert run(source, chunk_rows=7).scored_rows == 240  # goes on with the chunks that it was begun with
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert scored().equals(scored("whole"))
    assert not list(Path("out").glob(".part*"))


def test_a_run_that_goes_on_names_the_commit_that_it_was_begun_at(run: Run, source: str) -> None:
    run(source, commit="begun")
    note = json.loads(Path("out/_merit.json").read_text())
    Path("out/_merit.json").write_text(json.dumps({**note, "finished": False}))
    Path("out/part-00000001.parquet").unlink()
    run(source, commit="later")
    assert scored()["commit"].unique().to_list() == ["begun"]
    assert json.loads(Path("out/_merit.json").read_text())["commit"] == "begun"
    run(source, restart=True, commit="later")
    assert scored()["commit"].unique().to_list() == ["later"]


def test_a_hole_among_the_parts_is_filled(run: Run, source: str) -> None:
    run(source, "whole")
    run(source)
    note = json.loads(Path("out/_merit.json").read_text())
    Path("out/_merit.json").write_text(json.dumps({**note, "finished": False}))
    Path("out/part-00000001.parquet").unlink()
    before = Path("out/part-00000002.parquet").stat().st_mtime_ns
    run(source)
    assert scored().equals(scored("whole"))
    assert Path("out/part-00000002.parquet").stat().st_mtime_ns == before


def test_a_second_run_does_nothing(run: Run, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source)
    monkeypatch.setattr(local, "score_chunks", lambda *_: pytest.fail("it scored again"))
    outcome = run(source)
    assert (outcome.scored_rows, outcome.was_complete) == (240, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: os.utime("in.parquet", (1, 1)), "the input is another: in.parquet"),
        (lambda: Path("model/params.yaml").write_text("data: {}"), "the package is another: it was sha256:"),
        (None, "--keep is another"),
    ],
)
def test_what_was_begun_from_something_else_is_refused(run: Run, source: str, change: Any, told: str) -> None:
    from tests.conftest import rewrite_manifest

    run(source)
    how: dict[str, Any] = {"keep": ("id",)} if change is None else {}
    if change is not None:
        change()
        rewrite_manifest(Path("model"))
    with pytest.raises(Refused, match="--restart scores all rows again") as caught:
        run(source, **how)
    assert told in str(caught.value)
    assert run(source, restart=True, **how).scored_rows == 240


def test_rows_that_break_the_contract_end_the_run_and_nothing_done_is_lost(
    run: Run, rows: pl.DataFrame, source: str
) -> None:
    bad = rows.with_columns(kind=pl.when(pl.col("id").is_between(120, 127)).then(10).otherwise("kind"))
    bad.write_parquet("in.parquet")
    with pytest.raises(Refused) as caught:
        run(source)
    assert str(caught.value).startswith(
        "in.parquet: 8 rows break the model's contract: row 120: kind 10 is above 9; row 121: kind 10 is above 9; "
    )
    assert "and 3 more in this chunk" in str(caught.value)
    assert scored()["id"].to_list()[:96] == list(range(96))
    assert run(source, on_error="aside").rejected_rows == 8


def test_rows_that_break_the_contract_are_set_aside_with_the_reason(run: Run, rows: pl.DataFrame, source: str) -> None:
    bad = rows.with_columns(
        shop=pl.when(pl.col("id") == 7).then(pl.lit("east")).otherwise("shop"),
        weight=pl.when(pl.col("id").is_in([7, 200])).then(None).otherwise("weight"),
    )
    bad.write_parquet("in.parquet")
    outcome = run(source, on_error="aside")
    aside = pl.read_parquet("out/_rejected/*.parquet")
    assert (outcome.scored_rows, outcome.rejected_rows) == (238, 2)
    assert aside.select("row", "id", "reason").rows() == [
        (7, 7, "shop east is none of north, south, west, ; weight is missing"),
        (200, 200, "weight is missing"),
    ]
    assert sorted([*scored()["id"], *aside["id"]]) == list(range(240))


def test_an_input_without_rows_leaves_its_columns(run: Run, rows: pl.DataFrame) -> None:
    rows.clear().write_parquet("none.parquet")
    assert run("none.parquet").scored_rows == 0
    assert scored().columns == [*rows.columns, "prediction", "model", "version", "commit"]


@pytest.mark.parametrize("name", ["all.parquet", "all.csv"])
def test_one_file_is_written_once_all_is_scored(run: Run, source: str, name: str) -> None:
    run(source, "parts")
    assert run(source, name).scored_rows == 240
    found = pl.read_parquet(name) if name.endswith("parquet") else pl.read_csv(name)
    assert found["prediction"].equals(scored("parts")["prediction"])
    there = [name, f".{name}.parts", "in.parquet", "model", "parts"]
    assert sorted(path.name for path in Path().iterdir()) == sorted(there)
    assert [path.name for path in Path(f".{name}.parts").iterdir()] == ["_merit.json"]
    assert run(source, name).was_complete
    assert run(source, name, restart=True).scored_rows == 240


def test_rejected_rows_of_one_file_are_beside_it(run: Run, rows: pl.DataFrame) -> None:
    rows.with_columns(weight=pl.lit(2.0)).write_csv("in.csv")
    outcome = run("in.csv", "all.csv", on_error="aside")
    assert (outcome.scored_rows, outcome.rejected_rows) == (0, 240)
    assert pl.read_parquet("all.csv.rejected/*.parquet")["reason"].unique().to_list() == ["weight 2.0 is above 1"]


def test_csv_scores_as_parquet_does(run: Run, rows: pl.DataFrame, source: str) -> None:
    rows.write_csv("in.csv")
    run(source, "of-parquet")
    run("in.csv", "of-csv")
    assert scored("of-csv")["prediction"].equals(scored("of-parquet")["prediction"])


def test_text_that_is_no_number_is_told_with_its_row(run: Run) -> None:
    Path("in.csv").write_text("shop,kind,size,weight\nnorth,1,,0.5\nsouth,x,5,0.5\n")
    with pytest.raises(Refused, match=r"in\.csv: 1 row breaks the model's contract: row 1: kind x is not an integer;"):
        run("in.csv")


def test_columns_with_the_names_of_those_added_are_refused(run: Run, rows: pl.DataFrame) -> None:
    rows.with_columns(version=pl.lit(1)).write_parquet("in.parquet")
    with pytest.raises(Refused, match=r"columns named version.*--keep"):
        run("in.parquet")
    assert run("in.parquet", keep=("id",)).scored_rows == 240


def test_a_column_to_keep_that_is_not_there_is_refused(run: Run, source: str) -> None:
    with pytest.raises(Refused, match=r"--keep: in\.parquet has no column ident; it has id, shop"):
        run(source, keep=("ident",))
    assert not Path("out").exists()


def test_an_input_that_changes_while_it_is_read_is_refused(
    run: Run, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Job.score_chunk

    def changing(self: Job, *args: Any) -> int:
        os.utime("in.parquet", (1, 1))
        return score(self, *args)

    monkeypatch.setattr(Job, "score_chunk", changing)
    with pytest.raises(Refused, match=r"in\.parquet: changed while it was read"):
        run(source)


def test_two_runs_at_once_into_one_place_are_refused(run: Run, source: str) -> None:
    with (
        output_lock.lock_output(output.parse_output("out")),
        pytest.raises(MeritError, match="another 'merit predict' writes there"),
    ):
        run(source)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://bucket/out", "allowed: a folder, or a file"),
        ("out.json", r"ends in \.parquet or \.csv"),
        ("in.parquet", r"in\.parquet: is or contains the input"),
        ("others", "others: holds mine.txt; give another place"),
    ],
)
def test_a_place_that_can_not_be_written_is_refused(run: Run, source: str, place: str, told: str) -> None:
    Path("others").mkdir()
    Path("others/mine.txt").touch()
    with pytest.raises(MeritError, match=told):
        run(source, place)
    assert [path.name for path in Path("others").iterdir()] == ["mine.txt"]
    assert not Path("out").exists()


def test_a_place_inside_the_input_is_refused(run: Run, source: str) -> None:
    Path("many").mkdir()
    Path("in.parquet").rename("many/in.parquet")
    with pytest.raises(MeritError, match="lies in the input many"):
        run("many", "many/out")


@pytest.mark.parametrize("on_error", ["refuse", "aside"])
def test_columns_named_row_and_reason_are_set_aside_as_well(run: Run, rows: pl.DataFrame, on_error: str) -> None:
    rows.with_columns(row=pl.col("id") * 2, reason=pl.lit("mine"), weight=pl.lit(2.0)).write_parquet("in.parquet")
    if on_error == "refuse":
        with pytest.raises(Refused, match=r"row 0: weight 2\.0 is above 1;"):
            run("in.parquet")
        return
    assert run("in.parquet", on_error="aside").rejected_rows == 240
    found = pl.read_parquet("out/_rejected/*.parquet")
    assert found.columns[:2] == ["row_", "reason_"]
    assert found.select("row_", "row", "reason").row(7) == (7, 14, "mine")


def test_a_column_to_keep_that_is_named_twice_is_refused(run: Run, source: str) -> None:
    with pytest.raises(Refused, match="--keep: names kind twice; name each column once"):
        run(source, keep=("kind", "id", "kind"))


@pytest.mark.parametrize("value", [pl.concat_list("kind"), pl.struct("kind"), pl.lit(b"x")])
def test_what_csv_can_not_hold_is_refused_before_anything_is_scored(
    run: Run, rows: pl.DataFrame, value: pl.Expr
) -> None:
    rows.with_columns(odd=value).write_parquet("in.parquet")
    with pytest.raises(Refused, match=r"^o\.csv: CSV can't hold the column 'odd' \(.*--keep, or give a folder"):
        run("in.parquet", "o.csv")
    assert run("in.parquet", "o.csv", keep=("id",)).scored_rows == 240
