"""How long a pull request waits for its verdict: the steps of .github/workflows/pr.yml, in a clone with a filled cache.

Two pull requests: one changes only a threshold of the gate, the other the optimizer. Each is checked out anew beside
DVC's cache, as a runner has it with a remote; nothing else is kept from one to the next. Installing and linting are
left out: they are the same for every change.

Usage, in the root of the repository: python benchmarks/pull_request.py
"""

import os
import shutil
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline import Measured, git, merit_program, timed, working_copy

STEPS = {
    "merit compose --check": [merit_program(), "compose", "--check"],
    "data": [merit_program(), "repro", "validate"],
    "merit gate data": [merit_program(), "gate", "data"],
    "stages": [merit_program(), "repro"],
    "merit gate": [merit_program(), "gate"],
}
THRESHOLD_GOAL = 15.0
OPTIMIZER_GOAL = 30.0
"""Seconds; of the optimizer's, beyond the stage train."""
AUTHOR = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false")
CHANGES = {
    "a threshold": (Path("conf/gate/default.yaml"), "roc_auc: 0.64", "roc_auc: 0.65"),
    "the optimizer": (Path("conf/optimizer/adamw.yaml"), "lr: 0.002", "lr: 0.0021"),
}


def main() -> None:
    """Measure and print."""
    os.environ["PATH"] = f"{Path(merit_program()).parent}{os.pathsep}{os.environ['PATH']}"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="merit-benchmark-") as folder:
        main_branch = working_copy(Path(folder) / "main")
        timed([merit_program(), "run"], main_branch)
        _commit(main_branch, "champion")
        found = {name: judged(main_branch, Path(folder) / "clone", *change) for name, change in CHANGES.items()}
    show(found)
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def _commit(folder: Path, message: str) -> None:
    git("-C", str(folder), "add", "--all")
    git("-C", str(folder), *AUTHOR, "commit", "--quiet", "--message", message)


def judged(origin: Path, clone: Path, path: Path, old: str, new: str) -> dict[str, Measured]:
    """Return what each step took for a branch that changes a line."""
    git("clone", "--quiet", str(origin), str(clone))
    shutil.copytree(origin / ".dvc/cache", clone / ".dvc/cache")
    git("-C", str(clone), "switch", "--quiet", "--create", "change")
    text = (clone / path).read_text(encoding="utf-8")
    if old not in text:
        raise SystemExit(f"{path} no longer has '{old}'; correct CHANGES")
    (clone / path).write_text(text.replace(old, new), encoding="utf-8")
    timed([merit_program(), "compose"], clone)
    _commit(clone, "change")
    found = {name: timed(command, clone) for name, command in STEPS.items()}
    shutil.rmtree(clone)
    return found


def show(found: dict[str, dict[str, Measured]]) -> None:
    """Print the seconds of each step beside the goals."""
    table = Table("step", *(f"seconds, {name} changed" for name in found))
    for step in STEPS:
        table.add_row(step, *(f"{steps[step].seconds:.1f}" for steps in found.values()))
    totals = [sum(step.seconds for step in steps.values()) for steps in found.values()]
    training = sum(seconds for name, seconds in found["the optimizer"]["stages"].parts.items() if name == "train")
    beyond = totals[1] - training
    table.add_row("all", *(f"{total:.1f}" for total in totals))
    table.add_row("beyond the stage train", "", f"{beyond:.1f}")
    table.add_row("goal", _goal(totals[0], THRESHOLD_GOAL), _goal(beyond, OPTIMIZER_GOAL))
    Console().print(table)


def _goal(found: float, goal: float) -> str:
    return f"at most {goal:g}: {'met' if found <= goal else 'missed'}"


if __name__ == "__main__":
    main()
