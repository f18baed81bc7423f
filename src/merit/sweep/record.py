"""A sweep as it stands in its folder: what was asked for, and what became of each trial."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.errors import MeritError

SWEEPS = Path("sweeps")
FINAL = ("done", "pruned", "failed", "killed")


@dataclass(frozen=True)
class Trial:
    """What one set of values led to."""

    number: int
    overrides: dict[str, str]
    state: str
    values: dict[str, float]
    error: str | None
    started: float
    seconds: float
    first_batch_seconds: float | None
    epochs: int
    run: str | None
    folder: Path = field(default=Path(), repr=False)

    @property
    def history(self) -> list[dict[str, float]]:
        """Return the metrics of its epochs; none if it reported none."""
        file = self.folder / "history.csv"
        if not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as handle:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]


@dataclass(frozen=True)
class Sweep:
    """What was asked for, and the trials so far."""

    name: str
    folder: Path
    created: str
    sampler: str
    objectives: dict[str, str]
    overrides: list[str]
    space: dict[str, str]
    planned: int | None
    trials: list[Trial]
    commit: str

    def best(self) -> Trial | None:
        """Return the best trial that is done; None if there is none, or if there are several objectives."""
        if len(self.objectives) != 1:
            return None
        return min(self._done(), key=self._costs, default=None)

    def front(self) -> list[Trial]:
        """Return the trials that are done and than which no other is better in all objectives."""
        done = self._done()
        return [trial for trial in done if not any(self._beats(other, trial) for other in done)]

    def _done(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "done"]

    def _costs(self, trial: Trial) -> tuple[float, ...]:
        return tuple(trial.values[m] * (-1 if to == "maximize" else 1) for m, to in self.objectives.items())

    def _beats(self, one: Trial, other: Trial) -> bool:
        ours, theirs = self._costs(one), self._costs(other)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def names() -> list[str]:
    """Return the sweeps that are here, the oldest first."""
    return [file.parent.name for file in sorted(SWEEPS.glob("*/sweep.json"), key=lambda file: file.stat().st_mtime)]


def latest() -> str:
    """Return the newest sweep.

    Raises:
        MeritError: there is none.
    """
    found = names()
    if not found:
        raise MeritError(f"{SWEEPS}/: no sweep is here; 'merit train -m KEY=VALUE,VALUE' makes one")
    return found[-1]


def read(name: str) -> Sweep:
    """Return a sweep.

    Raises:
        MeritError: there is none of that name, or it can't be read.
    """
    folder = SWEEPS / name
    if not (folder / "sweep.json").is_file():
        raise MeritError(f"sweep: no '{name}' in {SWEEPS}/; there are: {', '.join(names()) or 'none'}")
    told = artifacts.read_json(folder / "sweep.json", "train -m")
    keys = ("name", "created", "sampler", "objectives", "overrides", "space", "planned", "commit")
    trials = [_trial(file.parent) for file in sorted(folder.glob("trials/*/trial.json"))]
    return Sweep(folder=folder, trials=trials, **{key: told[key] for key in keys})


def _trial(folder: Path) -> Trial:
    told: dict[str, Any] = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    keys = ("number", "overrides", "state", "values", "error", "started", "seconds", "first_batch_seconds", "epochs")
    return Trial(folder=folder, run=told.get("run"), **{key: told[key] for key in keys})
