from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from merit.config.compose import compose, hash_source
from merit.config.schema import Lock
from merit.data.ingest import ingest
from merit.errors import MeritError

CSV = {"_target_": "merit.data.sources.Csv", "path": "a.csv"}


def test_the_fingerprint_is_a_hash_of_the_files_content(workdir: Path) -> None:
    Path("a.csv").write_text("a\n1\n")
    first = hash_source(CSV)
    assert len(first) == len("sha256:") + 64
    Path("b.csv").write_text("a\n1\n")
    assert hash_source({**CSV, "path": "b.csv"}) == first
    Path("a.csv").write_text("a\n2\n")
    assert hash_source(CSV) != first


def test_a_source_file_that_is_not_there_is_named(workdir: Path) -> None:
    with pytest.raises(MeritError) as caught:
        hash_source(CSV)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "data.source: the file 'a.csv' is not there; correct the path in conf/data"


def test_a_folder_is_no_source_file(workdir: Path) -> None:
    Path("a.csv").mkdir()
    with pytest.raises(MeritError, match=r"the file 'a\.csv' is not there"):
        hash_source(CSV)


def test_compose_takes_the_fingerprint_into_the_lock(conf: Path) -> None:
    Path("flights.csv").write_text("departure\n")
    text = (conf / "data" / "flights.yaml").read_text()
    source = "_target_: merit.data.sources.Csv\n  path: flights.csv"
    (conf / "data" / "flights.yaml").write_text(text.replace("_target_: reference.flights.Flights", source))
    first = compose().data
    assert first.source.target == "merit.data.sources.Csv"
    assert first.fingerprint == hash_source({**CSV, "path": "flights.csv"})
    Path("flights.csv").write_text("departure\n2013-01-01\n")
    assert compose().data.fingerprint != first.fingerprint


def test_ingest_refuses_data_that_changed_since_the_lock_was_made(
    workdir: Path, table: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    table.write_parquet("source.parquet")
    source = make_lock().data.source.model_dump(by_alias=True)
    found = hash_source(source)
    data = make_lock(lambda v: v["data"].update(fingerprint=found)).data
    ingest(data)
    kept = Path("data/raw.parquet").read_bytes()
    table.with_columns(pl.col("weight") + 1).write_parquet("source.parquet")
    with pytest.raises(MeritError) as caught:
        ingest(data)
    assert caught.value.exit_code == 2
    said = f"but the lock was made for {found}: the data changed; 'merit compose' with the overrides in use takes"
    assert said in str(caught.value)
    assert hash_source(source) in str(caught.value)
    assert Path("data/raw.parquet").read_bytes() == kept
