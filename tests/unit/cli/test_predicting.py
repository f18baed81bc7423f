"""`merit predict` on the command line."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.registry import tags
from tests.conftest import Call


@pytest.fixture
def rows(workdir: Path, table: pl.DataFrame) -> None:
    table.select("shop", "kind", "size", "weight").write_parquet("in.parquet")


def test_a_table_is_scored_by_the_package_in_its_place(
    call: Call, make_package: Callable[..., Path], rows: None
) -> None:
    make_package(artifacts.PACKAGE)
    digest = artifacts.hash_package(artifacts.PACKAGE)
    receipt = {"package": digest, "version": "4"}  # of MLflow's, which is no version
    artifacts.write_json(artifacts.REGISTRATION, receipt)
    assert call("predict", "in.parquet", "out") == (0, "out: 240 rows scored\n", "")
    assert pl.read_parquet("out/*.parquet")["version"].unique().to_list() == [digest]
    assert call("predict", "in.parquet", "out") == (0, "out: 240 rows scored (done before)\n", "")


def test_what_is_set_aside_is_told(call: Call, make_package: Callable[..., Path], rows: None) -> None:
    sections = "data: {columns: {weight: {max: 0.5}}}"
    make_package(Path("other"), sections=sections)
    code, _, err = call("predict", "in.parquet", "out", "--package", "other")
    assert code == 1
    assert re.match(r"error: in\.parquet: \d+ rows break the model's contract: row \d+: weight 0\.", err)
    code, out, _ = call("predict", "in.parquet", "out", "--package", "other", "--on-error", "aside")
    assert code == 0
    assert re.fullmatch(r"out: \d+ rows scored, \d+ set aside in out/_rejected\n", out)


def test_only_the_columns_to_keep_are_carried_over(call: Call, make_package: Callable[..., Path], rows: None) -> None:
    make_package(artifacts.PACKAGE)
    assert call("predict", "in.parquet", "out.csv", "--keep", "shop", "engine=local")[0] == 0
    assert pl.read_csv("out.csv").columns == ["shop", "prediction", "model", "version", "commit"]


def test_a_version_is_brought_and_scored_by(
    call: Call, make_package: Callable[..., Path], rows: None, monkeypatch: pytest.MonkeyPatch, lock: Lock
) -> None:
    class Found:
        name, short_name, commit = "tiny@v3", "v3", "d" * 40

    artifacts.LOCK.write_text("")
    monkeypatch.setattr(locks, "read_lock", lambda: lock)
    monkeypatch.setattr(tags, "find_version", lambda name: Found if name == "tiny@v3" else None)
    monkeypatch.setattr(tags, "fetch_package", lambda version, folder: make_package(folder))
    assert call("predict", "in.parquet", "out", "--version", "v3")[0] == 0
    found = pl.read_parquet("out/*.parquet")
    assert (found.height, found.select("version", "commit").unique().rows()) == (240, [("v3", "d" * 40)])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["in.parquet", "out", "engine=spark"], "found 'engine=spark'; allowed: engine=local or engine=ray"),
        (["in.parquet", "out", "fast"], "found 'fast'"),
        (["in.parquet", "out", "--chunk-rows", "0"], "--chunk-rows"),
        (["in.parquet", "out", "--on-error", "skip"], "--on-error"),
        (["in.parquet"], "OUT"),
        (["none.parquet", "out"], "'none.parquet' is not there"),
        (["in.parquet", "out"], "model/manifest.json: not found; 'merit package' makes it"),
        (["in.parquet", "out", "--package", "model", "--version", "v1"], "--version and --package: give one of them"),
        (["sql", "out"], "'sql' needs --query, and --url-env"),
    ],
)
def test_what_can_not_be_done_is_told_in_a_line(call: Call, rows: None, args: list[str], told: str) -> None:
    code, out, err = call("predict", *args)
    assert (code, out) == (2, "")
    assert told in err.strip().splitlines()[-1]
