"""What a sweep costs: 16 short trials by `merit train -m` beside 16 single `merit train`, one after another.

Both train the same 16 locks (`trainer=smoke`, another seed each), on the features of this repository. Two ratios:

- sweep / singles: the wall time of the one command over that of the 16.
- sweep / training: the same over the trials' own training time divided by the cores that this process may use.

Then what a trial waits for before its first batch, by parts, forked from the warm process and in a new interpreter.

Usage, in the root of the repository: python benchmarks/sweep.py [--trials N] [--model NAME] [--singles N]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from merit import artifacts
from merit.config import lock as locks
from merit.config.compose import Composer
from merit.sweep import record

GOAL_SINGLES, GOAL_TRAINING = 0.6, 1.3
MERIT = str(Path(sys.executable).parent / "merit")


def main() -> None:
    """Measure and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--trials", type=int, default=16)
    given.add_argument("--model", default="embedding_mlp")
    given.add_argument("--singles", type=int, help="measure so many single trainings and scale up [default: all]")
    asked = given.parse_args()
    singles = asked.singles or asked.trials
    with _folder() as folder:
        sweep, trials = _sweep(folder, asked.model, asked.trials, "local")
        single = _singles(folder, asked.model, singles) * asked.trials / singles
        basic = _sweep(folder, asked.model, 2, "basic")[1]
        _show(sweep, single, trials, [_parts(trials[:1]), _parts(trials[1:]), _parts(basic)])


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a clone of the repository with its data, so that nothing here is changed."""
    with tempfile.TemporaryDirectory(prefix="merit-sweep-") as made:
        folder = Path(made) / "project"
        subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)
        for name in ("data", "conf", "params.yaml", "dvc.lock", ".dvc/cache"):
            if Path(name).is_dir():
                shutil.copytree(name, folder / name, dirs_exist_ok=True)
            elif Path(name).is_file():
                shutil.copyfile(name, folder / name)
        artifacts.require_path(folder / artifacts.FEATURES_REPORT, "run")
        subprocess.run(["dvc", "repro", "--quiet", "features"], cwd=folder, check=True)  # noted as up to date
        yield folder


def _sweep(folder: Path, model: str, trials: int, launcher: str) -> tuple[float, list[record.Trial]]:
    """Return how long a sweep took, in seconds, and its trials."""
    words = [f"model={model}", "trainer=smoke", f"seed=range(1,{trials + 1})", f"hydra/launcher={launcher}"]
    began = time.perf_counter()
    _run(folder, "train", "-m", *words, f"sweep.name={launcher}")
    seconds = time.perf_counter() - began
    found = record.read_trials(folder / record.SWEEPS / launcher)
    assert [trial.state for trial in found] == ["done"] * trials
    return seconds, found


def _singles(folder: Path, model: str, trials: int) -> float:
    """Return how long single trainings took, one after another, without the time to write their locks."""
    os.chdir(folder)
    composer, seconds = Composer(), 0.0
    for seed in range(1, trials + 1):
        locks.write_lock(composer.compose([f"model={model}", "trainer=smoke", f"seed={seed}"]).lock)
        began = time.perf_counter()
        _run(folder, "train")
        seconds += time.perf_counter() - began
    return seconds


def _run(folder: Path, *words: str) -> None:
    done = subprocess.run([MERIT, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _show(sweep: float, single: float, trials: list[record.Trial], told: list[dict[str, float]]) -> None:
    cores = len(os.sched_getaffinity(0))
    training = sum(trial.seconds for trial in trials)
    table = Table("", "seconds", "ratio", "goal")
    table.add_row(f"sweep of {len(trials)}", f"{sweep:.1f}", "", "")
    table.add_row(f"{len(trials)} single trainings", f"{single:.1f}", f"{sweep / single:.2f}", f"{GOAL_SINGLES}")
    own = training / cores
    table.add_row(f"trials' training / {cores} cores", f"{own:.1f}", f"{sweep / own:.2f}", f"{GOAL_TRAINING}")
    console = Console()
    console.print(table)
    parts = Table("seconds to the first batch", "first trial", "median of the others", "new interpreter")
    for name in dict.fromkeys(name for each in told for name in each):
        parts.add_row(name, *(f"{each[name]:.3f}" if name in each else "" for each in told))
    parts.add_row("all", *(f"{sum(each.values()):.3f}" for each in told))
    console.print(parts)


def _parts(trials: list[record.Trial]) -> dict[str, float]:
    """Return the median of each part of what trials waited for."""
    told = [json.loads((trial.folder / record.TRIAL_JSON).read_text(encoding="utf-8"))["parts"] for trial in trials]
    return {name: statistics.median(each[name] for each in told) for name in told[0]}


if __name__ == "__main__":
    main()
