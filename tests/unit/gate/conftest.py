"""What the gate's tests share: a candidate that passes everything, and champions of every kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.errors import MeritError
from merit.features.transform import NumberScale, Preprocessing
from merit.gate.champion import Champion
from merit.gate.checks import suite
from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.test_use import TestUse
from merit.gate.verdict import Check
from merit.metrics import BinaryMetrics, Resampling, estimate_intervals
from merit.scoring.package import Package, extract_columns
from tests.conftest import _values

ROWS = 600


class Rival(Champion):
    """A champion of the same data whose package is at hand, or can't be brought."""

    package: Package | None = None
    data: Data | None = None

    def has_same_data(self) -> bool:
        """Say so; the real one is tested with the champion."""
        return True

    def read_data_section(self) -> Data:
        """Give what the test says."""
        assert self.data is not None
        return self.data

    @contextmanager
    def fetch_package(self) -> Iterator[Package]:
        """Give the package, or say that there is none."""
        if self.package is None:
            raise MeritError("its package is neither in DVC's cache nor in a remote (gone)")
        yield self.package


def run_family(family: CheckFamily, evidence: Evidence) -> list[Check]:
    """Run the checks of one file as the suite does in their turn."""
    return suite._run_family(family, family.build_checks(evidence), evidence)


def rival(package: Package | None = None) -> Champion:
    champion = Rival("a" * 40, {"model": "m.dir"})
    object.__setattr__(champion, "data", Lock.model_validate(_values()).data)
    object.__setattr__(champion, "package", package)
    return champion


@pytest.fixture(autouse=True)
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the candidate be the first to be judged on its test rows: there are neither runs nor commits here."""
    use = TestUse("sha256:" + "0" * 64, "0" * 32 + ".dir", 1, "Git")
    monkeypatch.setattr("merit.gate.evidence.count_candidates", lambda lock, rows: use)


def with_other_graph(package: Package) -> Package:
    """Return a package that answers alike, by a graph of other bytes."""
    files = {**package.manifest["files"], artifacts.GRAPH: "0" * 64}
    return replace(package, manifest={**package.manifest, "files": files})


@pytest.fixture
def rows() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "shop": draw.choice(["north", "south", "west"], ROWS),
            "kind": draw.integers(1, 4, ROWS),
            "size": draw.normal(50, 10, ROWS),
            "weight": draw.uniform(0, 1, ROWS),
        }
    )


@pytest.fixture
def load(tmp_path: Path, make_package: Callable[..., Path]) -> Callable[[Preprocessing], Package]:
    """Make and load a package of a transform and the plainest of networks."""

    def make(transform: Preprocessing) -> Package:
        return Package.load(make_package(tmp_path / str(len(list(tmp_path.iterdir()))), transform=transform))

    return make


def transform_of(size: float = 1.0, weight: float = 1.0) -> Preprocessing:
    return Preprocessing(
        [],
        [
            NumberScale("size", 50.0, 10.0 / size, 4.0, has_missing_flag=False),
            NumberScale("weight", 0.5, 1 / weight, 4.0, has_missing_flag=False),
        ],
    )


@pytest.fixture
def evidence(rows: pl.DataFrame, lock: Lock, load: Callable[[Preprocessing], Package]) -> Evidence:
    """A candidate that passes everything, with no champion."""
    package = load(transform_of(2.0, 2.0))
    probability = package.predict(extract_columns(rows, package.graph.inputs))
    target = (np.random.default_rng(1).uniform(0, 1, ROWS) < probability).astype(float)
    return Evidence(
        lock=lock,
        contract={"passed": True, "rows": 1234, "violations": []},
        rows=rows,
        target=target,
        candidate=probability,
        network=probability,
        deviation=1.0,
        own_metrics={},
        baseline=np.clip(0.5 + (probability - 0.5) / 3, 0, 1),
        metrics=estimate_intervals(BinaryMetrics(target, probability), Resampling(100, 0.95, 7)),
        package=package,
        package_bytes=500_000,
        champion=None,
    )


@pytest.fixture
def whole(evidence: Evidence, load: Callable[[Preprocessing], Package], tiny_transform: Preprocessing) -> Evidence:
    """A candidate that takes every kind of column: two categories, a number that may be missing, and one that not."""
    package = load(tiny_transform)
    rows = evidence.rows.with_columns(pl.when(pl.int_range(pl.len()) % 10 > 0).then("size").alias("size"))
    probability = package.predict(extract_columns(rows, package.graph.inputs))
    target = (np.random.default_rng(1).uniform(0, 1, ROWS) < probability).astype(float)
    metrics = estimate_intervals(BinaryMetrics(target, probability), Resampling(100, 0.95, 7))
    return replace(
        evidence, package=package, rows=rows, candidate=probability, network=probability, target=target, metrics=metrics
    )


@pytest.fixture
def gated(make_lock: Callable[..., Lock]) -> Callable[..., Evidence]:
    """Return evidence under another gate: keys of conf/gate, and of conf/evaluate with that in front."""

    def make(found: Evidence, evaluate: dict[str, Any] | None = None, **gate: Any) -> Evidence:
        def edit(values: dict[str, Any]) -> None:
            values["gate"].update(gate)
            values["evaluate"].update(evaluate or {})

        return replace(found, lock=make_lock(edit))

    return make
