"""A small model of real flights with a champion on main, and a copy of it to plant a change in and judge.

Everything runs in this process, in the copy as the working directory: a change is judged in seconds.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file

from merit import artifacts, dvc
from merit.config import lock as locks
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.data import contract
from merit.data.ingest import ingest
from merit.dvc import lockfile as locked
from merit.errors import MeritError
from merit.evaluation.baseline import run_baseline
from merit.evaluation.evaluate import evaluate
from merit.features.fit import features
from merit.gate import judge
from merit.gate.checks.model.source_rows import ReplayRows, SourceRows
from merit.gate.verdict import Verdict
from merit.packaging.package import package
from merit.training.train import train

STAGES = ("compose", "ingest", "validate", "features", "baseline", "train", "evaluate", "package")


@dataclass(frozen=True)
class Outcome:
    """What became of a change: which checks or stages refused it, what they said, and how long judging took."""

    refused: dict[str, str]
    verdict: str
    seconds: float
    report: dict[str, Any] | None = None


@dataclass
class World:
    """A working copy of the project; a change is planted by these methods, or by writing its files."""

    folder: Path
    overrides: list[str] = field(default_factory=list)

    def rows(self, change: Callable[[pl.DataFrame], pl.DataFrame], path: Path = artifacts.RAW) -> None:
        """Change the ingested rows."""
        artifacts.write_table(path, change(pl.read_parquet(path)))

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of text."""
        text = Path(path).read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        artifacts.write_text(Path(path), text.replace(old, new))

    def weights(self, change: Callable[[str, NDArray[Any]], NDArray[Any]]) -> None:
        """Change the trained weights, tensor by tensor."""
        found = load_file(artifacts.WEIGHTS)
        changed = {name: np.asarray(change(name, values), dtype=values.dtype) for name, values in found.items()}
        artifacts.write_arrays(artifacts.WEIGHTS, changed)

    def graph(self, change: Callable[[onnx.ModelProto], None]) -> None:
        """Change the package's graph, and its manifest with it, as whoever forges one would."""
        path, manifest = artifacts.PACKAGE / artifacts.GRAPH, artifacts.PACKAGE / artifacts.MANIFEST
        model = onnx.load(str(path))
        change(model)
        with artifacts.write_atomically(path) as aside:
            onnx.save(model, str(aside))
        told = json.loads(manifest.read_text(encoding="utf-8"))
        told["files"][artifacts.GRAPH] = artifacts.hash_file(path)
        artifacts.write_json(manifest, told)

    def champion(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Change the rows of the champion on main: its file in DVC's cache, and the lock that names it."""
        lock = Path("dvc.lock")
        text = lock.read_text(encoding="utf-8")
        former = locked.parse_outputs(text, "dvc.lock")[artifacts.RAW.as_posix()]
        made = Path("other.parquet")
        change(pl.read_parquet(artifacts.RAW)).write_parquet(made)
        md5 = hashlib.md5(made.read_bytes(), usedforsecurity=False).hexdigest()
        place = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(place)
        _git("switch", "--quiet", "main")
        lock.write_text(text.replace(former, md5), encoding="utf-8")
        _git("commit", "--quiet", "--all", "--message", "another champion")
        _git("switch", "--quiet", "--force-create", "candidate")
        lock.write_text(text, encoding="utf-8")

    def set(self, *overrides: str) -> None:
        """Set keys of the configuration."""
        self.overrides += overrides

    def redo(self, first: str, last: str = STAGES[-1]) -> None:
        """Run the stages from one to another."""
        for name in STAGES[STAGES.index(first) : STAGES.index(last) + 1]:
            try:
                self._do(name)
            except MeritError as error:
                raise Stopped(name, str(error)) from error

    def _do(self, stage: str) -> None:
        if stage == "compose":
            locks.write_lock(compose(self.overrides))
            return
        lock = locks.read_lock()
        todo: dict[str, Callable[[], Any]] = {
            "ingest": lambda: ingest(lock.data),
            "validate": lambda: contract.refuse_violations(contract.validate(lock.data)),
            "features": lambda: features(lock.data, lock.features),
            "baseline": lambda: run_baseline(lock),
            "train": lambda: train(lock),
            "evaluate": lambda: evaluate(lock),
            "package": lambda: package(lock),
        }
        todo[stage]()

    def commit(self) -> None:
        """Have dvc.lock name all that is there, as DVC would after its stages."""
        with dvc.open_repository("test") as repo:
            repo.commit(force=True)

    @property
    def lock(self) -> Lock:
        """The lock as it stands."""
        return locks.read_lock()


def _git(*args: str) -> None:
    subprocess.run(["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *args], check=True)


class Stopped(Exception):
    """A stage refused a change before any gate saw it."""

    def __init__(self, stage: str, said: str) -> None:
        super().__init__(f"{stage}: {said}")
        self.stage, self.said = stage, said


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


SOURCE = Path("as-it-came.parquet")
"""The test rows as the source has them, where a change says otherwise than what was ingested."""


@contextmanager
def source_at_hand() -> Iterator[None]:
    """Have changes of the ingested rows stand for changes of the source: to read all flights again takes seconds."""
    read = SourceRows._read_rows
    SourceRows._read_rows = lambda rows: ReplayRows(pl.read_parquet(SOURCE) if SOURCE.exists() else rows._test_rows)
    try:
        yield
    finally:
        SourceRows._read_rows = read


def judged(
    home: Path, place: Path, plant: Callable[[World], None], first: str | None, part: judge.Scope | None
) -> Outcome:
    """Copy the project, plant a change, redo the stages from `first` on, judge, and return what came of it.

    Args:
        home: the project, on a branch whose main has a champion.
        place: where the copy goes; it is removed in the end.
        plant: changes the copy.
        first: the first stage that the change makes stale; `compose` is stale alone; None if none is.
        part: what `merit gate` judges: `data`, `model`, or None for both.
    """
    shutil.copytree(home, place, symlinks=True)
    started = time.perf_counter()
    try:
        with working_in(place), source_at_hand():
            world = World(place)
            try:
                plant(world)
                if world.overrides or first == "compose":
                    world.redo("compose", "compose")
                if first is not None and first != "compose":
                    world.redo(first, "validate" if part == "data" else STAGES[-1])
                if part != "data":
                    world.commit()
                started = time.perf_counter()
                report = judge.gate(world.lock, scope=part)
            except Stopped as stopped:
                return Outcome({stopped.stage: stopped.said}, "fail", time.perf_counter() - started)
            except MeritError as error:
                return Outcome({"gate": str(error)}, "broken", time.perf_counter() - started)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    refused = {each["name"]: each["found"] for each in report["checks"] if Verdict(each["verdict"]).is_blocking}
    return Outcome(refused, report["verdict"], time.perf_counter() - started, report)
