from pathlib import Path

import polars as pl
import pytest

from merit.errors import MeritError
from tests.unit.batch.conftest import Run


@pytest.fixture
def folder(workdir: Path, rows: pl.DataFrame) -> Path:
    """A folder with two files of rows, and a link to it."""
    made = Path("d")
    made.mkdir()
    for name in ("part-a.parquet", "part-b.parquet"):
        rows.write_parquet(made / name)
    Path("link").symlink_to("d")
    return made


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("d/part-a.parquet", "d/../d/part-a.parquet"),
        ("d/part-a.parquet", "link/part-a.parquet"),
        ("link/part-a.parquet", "d/part-a.parquet"),
        ("d/part-a.parquet", "same.parquet"),
        ("d/part-a.parquet", "d"),
        ("d/part-*.parquet", "d"),
        ("link/part-*.parquet", "d"),
        ("d/*.parquet", "d/scored.parquet"),
        ("link/*.parquet", "d/scored.parquet"),
        ("**/*.parquet", "scored"),
        ("d/**/*.parquet", "d/scored.csv"),
        ("link", "d/scored"),
        ("link", "link/scored"),
        ("d", "link/scored.csv"),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_what_is_read_is_never_written_whatever_name_it_goes_by(
    run: Run, folder: Path, source: str, place: str, restart: bool
) -> None:
    Path("same.parquet").hardlink_to("d/part-a.parquet")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(MeritError, match="give another place"):
        run(source, place, restart=restart)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not Path("scored").exists()


@pytest.mark.parametrize(
    ("source", "place"),
    [("d/part-a.parquet", "d/scored.parquet"), ("d/part-*.parquet", "d/scored"), ("d/*.parquet", "d/scored")],
)
def test_a_place_beside_what_is_read_is_taken(run: Run, folder: Path, source: str, place: str) -> None:
    assert run(source, place).scored_rows > 0
    assert run(source, place).was_complete
