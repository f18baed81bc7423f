import fcntl
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit.batch import output, output_lock
from merit.errors import MeritError, Refused
from tests.support.file_locks import is_locked
from tests.unit.batch.conftest import Run, scored


@pytest.fixture
def source(rows: pl.DataFrame, workdir: Path) -> str:
    rows.write_parquet("in.parquet")
    return "in.parquet"


@pytest.fixture
def bad(rows: pl.DataFrame, workdir: Path) -> str:
    """Rows of which two break the contract, in the chunks 0 and 2."""
    rows.with_columns(weight=pl.when(pl.col("id").is_in([5, 100])).then(2).otherwise("weight")).write_parquet(
        "bad.parquet"
    )
    return "bad.parquet"


def _tree(place: str = ".") -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(Path(place).rglob("*"))}


@pytest.mark.parametrize("name", ["part-foreign.parquet", "part-00000000.parquet", ".lock", "_rejected/part-1.parquet"])
def test_restart_touches_no_folder_that_is_not_of_a_batch(run: Run, source: str, name: str) -> None:
    Path("f", name).parent.mkdir(parents=True)
    Path("f", name).write_bytes(Path(source).read_bytes())
    before = _tree()
    with pytest.raises(MeritError, match=r"f: holds .*give another place, or remove it$"):
        run(source, "f", restart=True)
    assert _tree() == before


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_is_not_of_a_batch_stays(run: Run, source: str, restart: bool) -> None:
    Path("o.csv").write_text("mine\n")
    before = _tree()
    with pytest.raises(MeritError, match=r"o\.csv: is there already; give another place, or remove it$"):
        run(source, "o.csv", restart=restart)
    assert _tree() == before


def test_a_file_that_was_changed_since_stays(run: Run, source: str) -> None:
    run(source, "o.csv")
    Path("o.csv").write_text("mine\n")
    with pytest.raises(MeritError, match="was changed since it was scored"):
        run(source, "o.csv", restart=True)
    assert Path("o.csv").read_text() == "mine\n"


def test_restart_leaves_what_others_put_beside_the_parts(run: Run, source: str) -> None:
    run(source)
    others = ["out/part-foreign.parquet", "out/notes.txt"]
    for name in others:
        Path(name).write_bytes(Path(source).read_bytes())
    assert run(source, restart=True, chunk_rows=240).scored_rows == 240
    assert sorted(map(str, Path("out").iterdir())) == sorted([*others, "out/_merit.json", "out/part-00000000.parquet"])


@pytest.mark.parametrize("place", ["good", "good.csv"])
@pytest.mark.parametrize("fault", ["column", "line"])
def test_restart_looks_at_the_input_before_it_clears(
    run: Run, rows: pl.DataFrame, source: str, place: str, fault: str
) -> None:
    run(source, place)
    if fault == "column":
        rows.drop("weight").write_csv("lack.csv")
    else:
        Path("lack.csv").write_text("shop,kind,weight,size\nnorth,1,0.5,\nnorth,1,0.5\n")
    before = _tree()
    with pytest.raises(MeritError, match="nothing was scored"):
        run("lack.csv", place, restart=True)
    assert _tree() == before


def test_a_refused_run_leaves_nothing_but_what_was_there(run: Run, bad: str) -> None:
    Path("empty").mkdir()
    before = _tree()
    for place in ("a/b/out", "empty", "o.csv"):
        with pytest.raises(Refused, match=r"row 5: weight .*nothing was scored; correct them, or go on"):
            run(bad, place, chunk_rows=240)
        assert _tree() == before


def test_a_part_that_was_lost_is_scored_again(run: Run, source: str) -> None:
    run(source, "whole")
    run(source)
    Path("out/part-00000002.parquet").unlink()
    outcome = run(source)
    assert (outcome.scored_rows, outcome.resumed_rows, outcome.was_complete) == (240, 192, False)
    assert scored().equals(scored("whole"))
    assert run(source).was_complete


def test_rows_set_aside_that_were_lost_are_set_aside_again(run: Run, bad: str) -> None:
    run(bad, on_error="aside")
    Path("out/_rejected/part-00000002.parquet").unlink()
    assert (run(bad, on_error="aside").rejected_rows, len(list(Path("out/_rejected").iterdir()))) == (2, 2)
    assert run(bad, on_error="aside").was_complete


def test_rows_set_aside_by_a_job_before_are_not_told_as_of_this_one(run: Run, source: str, bad: str) -> None:
    run(bad, "o.csv", on_error="aside")
    Path("o.csv").unlink()
    with pytest.raises(Refused, match=r"the input is another: bad\.parquet, in\.parquet; --restart"):
        run(source, "o.csv")
    assert run(source, "o.csv", restart=True).rejected_rows == 0
    assert not Path("o.csv.rejected").exists()


def test_rows_set_aside_that_nothing_tells_of_are_not_taken_for_ours(run: Run, source: str) -> None:
    Path("o.csv.rejected").mkdir()
    Path("o.csv.rejected/part-00000000.parquet").touch()
    with pytest.raises(MeritError, match=r"o\.csv\.rejected: holds rows set aside before"):
        run(source, "o.csv", restart=True)


def test_one_file_that_was_removed_makes_room(run: Run, source: str, rows: pl.DataFrame) -> None:
    run(source, "o.csv")
    Path("o.csv").unlink()
    assert run(source, "o.csv").scored_rows == 240
    Path("o.csv").unlink()
    rows[:7].write_parquet("few.parquet")
    assert run("few.parquet", "o.csv").scored_rows == 7


def test_a_kill_just_before_or_after_the_one_file_is_there_loses_nothing(
    run: Run, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, "whole.csv")

    def dies(self: output.Output) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(output.Output, "_drop_parts", dies)
        run(source, "o.csv")
    assert run(source, "o.csv").was_complete
    assert [path.name for path in Path(".o.csv.parts").iterdir()] == ["_merit.json"]
    assert Path("o.csv").read_bytes() == Path("whole.csv").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(output.Output, "_drop_parts", dies)
        run(source, "p.csv")
    Path("p.csv").unlink()  # as if it had not been renamed yet
    assert run(source, "p.csv").resumed_rows == 240
    assert Path("p.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_what_was_begun_without_a_row_does_not_stand_in_the_way(run: Run, source: str, rows: pl.DataFrame) -> None:
    run(source)
    note = json.loads(Path("out/_merit.json").read_text())
    for path in Path("out").glob("part-*"):
        path.unlink()
    Path("out/_merit.json").write_text(json.dumps({**note, "finished": False}))  # what a kill leaves
    Path("out/_merit.lock").touch()
    rows[:7].write_parquet("few.parquet")
    assert run("few.parquet").scored_rows == 7
    assert sorted(path.name for path in Path("out").iterdir()) == ["_merit.json", "part-00000000.parquet"]


@pytest.mark.parametrize(
    "note", ["[]", "{", '{"mine": 1}', '{"form": 2, "chunk_rows": 9, "input": {}, "finished": true}']
)
def test_a_note_of_somebody_else_is_refused(run: Run, source: str, note: str) -> None:
    Path("out").mkdir()
    Path("out/_merit.json").write_text(note)
    with pytest.raises(MeritError, match=r"out/_merit\.json: "):
        run(source, restart=True)
    assert Path("out/_merit.json").read_text() == note


def test_a_run_that_goes_on_says_so_and_in_which_chunks(run: Run, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = output.Output.write_chunk

    def dies(self: output.Output, number: int, of: Any) -> None:
        if number == 3:
            raise KeyboardInterrupt
        write(self, number, of)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(output.Output, "write_chunk", dies)
        run(source, workers=1)
    said: list[str] = []
    done = len(list(Path("out").glob("part-*"))) * 48
    assert run(source, chunk_rows=7, show_line=said.append).resumed_rows == done
    assert said == [f"out: goes on after {done} rows, in chunks of 48, as it was begun"]


def test_a_lock_that_its_holder_removed_locks_nothing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, lock, tries = fcntl.flock, Path("out/_merit.lock"), []

    def late(handle: Any, how: int) -> None:
        flock(handle, how)
        tries.append(how)
        if len(tries) == 1:  # the holder before ended just now, and a third one came
            lock.unlink()
            lock.touch()

    monkeypatch.setattr(fcntl, "flock", late)
    with output_lock.lock_output(output.parse_output("out")):
        assert len(tries) == 2
        with (
            pytest.raises(MeritError, match="another 'merit predict' writes there"),
            output_lock.lock_output(output.parse_output("out")),
        ):
            pass
    assert not Path("out").exists()


def test_a_run_removes_its_lock_once_and_while_it_holds_it(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may hold a new file of that name as soon as the first is gone."""
    unlink, held = Path.unlink, []

    def record(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == output_lock.LOCK_NAME:
            held.append(is_locked(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", record)
    with output_lock.lock_output(output.parse_output("out")):
        pass
    assert held == [True]
    assert not Path("out").exists()


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_scored(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with (
        pytest.raises(MeritError, match=r"^out: can't be written: Permission denied; free space or fix its perm"),
        output_lock.lock_output(output.parse_output("out")),
    ):
        pytest.fail("it is locked")


@pytest.mark.parametrize("place", ["", " ", "\t"])
def test_a_name_of_nothing_but_spaces_is_no_place(workdir: Path, place: str) -> None:
    with pytest.raises(MeritError, match=rf"^OUT: found '{place}'; allowed: a folder, or a file that ends in"):
        output.parse_output(place)
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("place", ["/dev/null", "pipe", "pipe.csv"])
def test_a_device_or_pipe_is_no_place(workdir: Path, place: str) -> None:
    os.mkfifo("pipe")
    os.mkfifo("pipe.csv")
    with pytest.raises(MeritError, match=rf"^{place}: is a device or pipe; give a folder, or a file that ends in"):
        output.parse_output(place)
