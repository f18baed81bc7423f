"""Parity and replay begin at the source's file, not at rows that training has read."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.compose import hash_source
from merit.config.schema import Lock
from merit.data import ingest
from merit.data.split import split_table
from merit.errors import MeritError, Refused
from merit.features.transform import NumberScale, Preprocessing, Vocabulary
from merit.gate.checks.model import parity, replay_clients
from merit.gate.checks.model.source_rows import ReplayRows, SourceRows, convert_columns, to_json_rows
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.reading.dialect import Dialect
from merit.scoring.package import Package, extract_columns
from tests.conftest import rewrite_manifest

ZIPS = ("01001", "02139", "07030", "08540")
SOURCE = {"_target_": "merit.data.sources.Csv", "path": "zips.csv", "separator": ";", "decimal": ","}
COLUMNS: dict[str, Any] = {
    "zip": {"type": "string", "feature": "category"},
    "x": {"type": "number", "feature": "number", "missing": 0.5, "null_values": ["-"]},
}
Judged = Callable[..., Evidence]


@pytest.fixture
def judged(
    evidence: Evidence, workdir: Path, make_lock: Callable[..., Lock], make_package: Callable[..., Path]
) -> Judged:
    """Ingest a file, and return the evidence of a package that was fitted on what ingest has read."""

    def make(source: dict[str, Any] = SOURCE, **edits: Any) -> Evidence:
        def edit(values: dict[str, Any]) -> None:
            values["data"] |= _data(source) | edits
            values["evaluate"]["slices"] = ["zip"]

        lock = make_lock(edit)
        parts = split_table(ingest.ingest(lock.data), lock.data)
        known = parts["train"]["zip"].unique().sort().to_list()
        transform = Preprocessing(
            [Vocabulary("zip", "string", known)], [NumberScale("x", 0.0, 1.0, 4.0, has_missing_flag=True)]
        )
        package = Package.load(_signed(make_package(artifacts.PACKAGE, transform=transform), source))
        rows = parts["test"]
        artifacts.write_table(artifacts.TEST_ROWS, rows)
        answers = package.predict(extract_columns(rows, package.graph.inputs))
        of_source = SourceRows(lock.data, rows)
        found = replace(evidence, lock=lock, rows=rows, target=rows["late"].to_numpy(), candidate=answers)
        return replace(found, network=answers, package=package, source=of_source)

    draw = np.random.default_rng(0)
    numbers = [f"{x:.3f}".replace(".", ",") if place % 9 else "-" for place, x in enumerate(draw.normal(size=200))]
    lines = [
        f"{code};{x};{place % 2}" for place, (code, x) in enumerate(zip(draw.choice(ZIPS, 200), numbers, strict=True))
    ]
    Path("zips.csv").write_text("\n".join(["zip;x;y", *lines]) + "\n")
    return make


def _data(source: dict[str, Any]) -> dict[str, Any]:
    target = {"name": "late", "sql": "y = 1"}
    split_ = {"by": "random", "validation": 0.2, "test": 0.4}
    contract = {"rows": {"min": 1, "max": 1000}}
    return {
        "source": source, "fingerprint": hash_source(source), "time": None, "window": None, "target": target,
        "columns": COLUMNS, "contract": contract, "split": split_,
    }  # fmt: skip


def _signed(package: Path, source: dict[str, Any]) -> Path:
    """Have the signature say how columns are read, as the stage `package` does."""
    place = package / artifacts.SIGNATURE
    signature = json.loads(place.read_text())
    signature["inputs"][1] |= {"null_values": ["-"], "decimal": source.get("decimal")}
    artifacts.write_json(place, signature | {"csv": {"separator": source.get("separator")}})
    rewrite_manifest(package)
    return package


def _parity(evidence: Evidence) -> Check:
    with parity.build_checks(evidence)["parity"] as check:
        return check(evidence)


def test_rows_of_the_source_get_the_answers_that_were_evaluated(judged: Judged) -> None:
    found = judged()
    check = _parity(found)
    assert (check.verdict, check.found) == (Verdict.PASS, "0.0e+00 on 80 rows of the source")
    assert _parity(found).found == "0.0e+00 on 80 rows of the source, measured before"


def test_the_rows_are_those_of_the_test_part_in_its_order(judged: Judged) -> None:
    found = judged(filter="x IS NOT NULL", contract={"rows": {"min": 1, "max": 1000}, "unique": ["x"]})
    assert found.source is not None
    rows = found.source.get_rows()
    assert rows.table["zip"].to_list() == found.rows["zip"].to_list()
    assert convert_columns(rows.table, found.package)["x"].to_list() == found.rows["x"].to_list()
    assert rows.dialect == Dialect(";")


def test_training_that_reads_otherwise_than_the_signature_says_fails(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ingest._read_column

    def guessed(raw: pl.Series, column: Any) -> Any:  # as Polars' guess did: 01001 becomes 1001
        made, unread = read(raw, column)
        return (made.cast(pl.Int64).cast(pl.String) if column.type == "string" else made), unread

    monkeypatch.setattr(ingest, "_read_column", guessed)
    found = judged()
    check = _parity(found)
    assert check.verdict is Verdict.FAIL
    assert check.found.endswith("on 80 rows of the source, 0.0e+00 as ingested")
    assert "training has read the source differently" in check.advice
    assert _parity(replace(found, source=None)).verdict is Verdict.PASS  # which is what was looked at before


def test_a_signature_that_can_not_read_the_source_fails_with_the_cells(judged: Judged) -> None:
    found = judged()
    inputs = [{key: value for key, value in each.items() if key != "decimal"} for each in found.package.inputs]
    other = replace(found.package, signature=found.package.signature | {"inputs": inputs})
    check = _parity(replace(found, package=other))
    assert check.verdict is Verdict.FAIL
    assert "column 'x': " in check.found
    assert 'declare decimal: ","' in check.found


@pytest.mark.parametrize("spoil", ["gone", "changed", "of fewer rows", "of other rows"])
def test_a_source_that_can_not_be_had_is_inconclusive(judged: Judged, spoil: str) -> None:
    found = judged()
    if spoil == "gone":
        Path("zips.csv").unlink()
    elif spoil == "changed":
        Path("zips.csv").write_text("zip;x;y\n01001;1,0;1\n")
    elif spoil == "of fewer rows":
        artifacts.write_table(artifacts.SOURCE_ROWS, pl.DataFrame({"row": [1, 2]}))
    else:
        artifacts.write_table(artifacts.RAW, pl.read_parquet(artifacts.RAW).with_columns(pl.col("x") * 2))
    check = _parity(found)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.found.startswith("the source's rows can't be had: ")


def test_positions_past_the_source_are_of_another_table(judged: Judged) -> None:
    found = judged()
    assert found.source is not None
    noted = pl.read_parquet(artifacts.SOURCE_ROWS)
    later = noted.with_columns(pl.col("row") + 200 - noted["row"].max())
    metadata = {"raw": artifacts.hash_file(artifacts.RAW)}
    for last, is_refused in ((199, False), (200, True)):
        moved = later.with_columns(pl.col("row") + last - 200)
        moved.write_parquet(artifacts.SOURCE_ROWS, metadata=metadata)
        source = SourceRows(found.lock.data, found.rows)
        with (
            pytest.raises(MeritError, match=r"source_rows\.parquet: not of the rows of ")
            if is_refused
            else nullcontext()
        ):
            source.get_rows()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"zip": ["01001"]}, "the source has no column 'x', which the package takes"),
        ({"zip": ["01001"], "x": [date(2024, 1, 31)]}, "column 'x': "),
    ],
)
def test_a_table_that_the_package_can_not_take_is_refused(judged: Judged, table: dict[str, Any], problem: str) -> None:
    with pytest.raises(Refused) as caught:
        convert_columns(pl.DataFrame(table), judged().package)
    assert str(caught.value).startswith(problem)


def test_a_database_that_went_on_is_told_and_what_was_ingested_is_looked_at(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from merit.data.sources import Csv

    found = judged()
    monkeypatch.delattr(Csv, "files")
    monkeypatch.setattr(Csv, "fingerprint", lambda _: "sha256:" + "1" * 64, raising=False)
    check = _parity(found)
    assert check.verdict is Verdict.PASS
    assert check.found.endswith("as ingested: the source has other rows by now, or can't be reached")
    assert not parity.CACHE_FILE.exists()


def test_rows_are_sent_as_a_caller_has_them(judged: Judged) -> None:
    found = judged()
    assert found.source is not None
    table = pl.DataFrame({"zip": ["01001", "2"], "x": ["-1,5", "-"]})
    assert to_json_rows(table, found.package) == [{"zip": "01001", "x": -1.5}, {"zip": "2", "x": None}]


def test_merit_predict_is_asked_with_a_file_as_the_source_is(judged: Judged, tmp_path: Path) -> None:
    found = judged()
    assert found.source is not None
    (tmp_path / "room").mkdir()
    rows = found.source.get_rows()
    answers = replay_clients.predict_in_batch(tmp_path / "room", rows, found.package)
    assert np.array_equal(answers, found.candidate.astype(np.float64))
    assert (tmp_path / "room/rows.csv").read_text().startswith("zip;x\n")


@pytest.mark.parametrize(("code", "kind"), [(1, Refused), (2, MeritError)])
def test_what_merit_predict_refuses_is_told(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, kind: type[MeritError]
) -> None:
    found = judged()
    program = tmp_path / "merit"
    program.write_text(f"#!/bin/sh\necho error: {tmp_path}/rows.parquet: row 3 breaks it >&2\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(replay_clients, "MERIT_PROGRAM", program)
    with pytest.raises(
        MeritError, match=r"'merit predict' on rows of the source: error: rows.parquet: row 3"
    ) as caught:
        replay_clients.predict_in_batch(tmp_path, ReplayRows(found.rows), found.package)
    assert type(caught.value) is kind
