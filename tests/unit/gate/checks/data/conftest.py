"""Two versions of a small table: what is here now, and the champion's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.findings import Findings
from merit.gate.checks.data.run import check_data
from merit.gate.verdict import Check

ROWS = 1200

Look = Callable[..., Findings]


@pytest.fixture
def good() -> pl.DataFrame:
    """Rows over 120 days of 2024 as `ingest` writes them: nothing is wrong with them."""
    draw = np.random.default_rng(0)
    size = draw.normal(50, 10, ROWS)
    return pl.DataFrame(
        {
            "when": [datetime(2024, 1, 1) + timedelta(hours=2.4 * row) for row in range(ROWS)],
            "shop": draw.choice(["north", "south", "west"], ROWS),
            "kind": draw.integers(1, 4, ROWS),
            "size": pl.Series(size).set(pl.Series(np.arange(ROWS) % 10 == 0), None),
            "weight": draw.uniform(0, 1, ROWS),
            "late": (size + draw.normal(0, 20, ROWS) > 60).astype(np.float64),
        }
    )


class Rival(Champion):
    """A champion whose data is at hand, or can't be brought."""

    rows: Path | None = None
    said: Data | None = None

    def has_same_data(self) -> bool:
        """Compare the files."""
        return self.rows is not None and self.rows.read_bytes() == artifacts.RAW.read_bytes()

    def read_data_section(self) -> Data:
        """Give what the test says."""
        assert self.said is not None
        return self.said

    @contextmanager
    def fetch_data(self) -> Iterator[Path]:
        """Give the file, or say that there is none."""
        if self.rows is None:
            raise MeritError("its data is neither in DVC's cache nor in a remote (gone)")
        yield self.rows


@pytest.fixture
def look_at(workdir: Path, lock: Lock) -> Look:
    """Judge rows against a champion's; without them there is no champion, with None they can't be brought."""

    def judge(
        now: pl.DataFrame,
        *before: pl.DataFrame | None,
        lock: Lock = lock,
        said: Data | None = None,
        repeated: int | None = None,
    ) -> Findings:
        noted = {} if repeated is None else {artifacts.DUPLICATES_KEY: str(repeated)}
        artifacts.write_table(artifacts.RAW, now, noted)
        artifacts.write_json(artifacts.DATA_REPORT, {"passed": True, "rows": now.height, "violations": []})
        if not before:
            return check_data(lock, None)
        champion = Rival("a" * 40, {"model": "m.dir"})
        if before[0] is not None:
            before[0].write_parquet("before.parquet")
            object.__setattr__(champion, "rows", Path("before.parquet"))
        object.__setattr__(champion, "said", said or lock.data)
        return check_data(lock, champion)

    return judge


@pytest.fixture
def opened(workdir: Path, lock: Lock) -> Callable[..., Dataset]:
    """Open rows as a version of the data."""

    def make(rows: pl.DataFrame, data: Data = lock.data) -> Dataset:
        path = Path(f"{len(list(Path().iterdir()))}.parquet")
        rows.write_parquet(path)
        return Dataset.scan(path, data, "the data")

    return make


def check(found: Findings, name: str) -> Check:
    """Return the check of that name."""
    (one,) = [each for each in found.checks if each.name == name]
    return one
