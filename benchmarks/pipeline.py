"""What the path costs: `merit run` from an empty cache beside the same job by hand (`plain.py`), and run again.

Each runs in fresh processes, in a copy of the working tree that holds no data, no cache, no tracking store and no
champion. Other work on the machine lengthens the seconds of a clock; CPU seconds and the load are printed to judge by.

Usage, in the root of the repository: python benchmarks/pipeline.py [--repeat N]
"""

import argparse
import csv
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RATIO_GOAL = 1.5
IDLE_GOAL = 2.0
IDLE_RUNS = 3
CHAMPION = Path("dvc.lock")
"""Names artefacts of an earlier run, which an empty cache does not have."""


@dataclass
class Measured:
    """A run: seconds of the clock and of the processors, seconds of each part, and what the model is worth."""

    seconds: float
    cpu: float
    parts: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    log_loss: float = 0.0


def main() -> None:
    """Measure and print."""
    repeat = _arguments().repeat
    merit, plain, idle = [], [], []
    load = os.getloadavg()[0]
    for turn in range(repeat):
        with tempfile.TemporaryDirectory(prefix="merit-benchmark-") as folder:
            copy = working_copy(Path(folder) / "copy")
            if turn % 2:
                plain.append(run_plain(copy))
            merit.append(run_merit(copy))
            idle += [timed([merit_program(), "run"], copy).seconds for _ in range(IDLE_RUNS)]
            if not turn % 2:
                plain.append(run_plain(copy))
    show(merit, plain, statistics.median(idle))
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1, help="measure each so many times, in alternating order")
    return parser.parse_args()


def working_copy(folder: Path) -> Path:
    """Copy the files that Git knows or would add, as they are now, and commit them in a repository of their own."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for path in map(Path, filter(None, listed)):
        if path.is_file() and path != CHAMPION:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path)
    git("-C", str(folder), "init", "--quiet", "--initial-branch=main")
    git("-C", str(folder), "add", "--all")
    author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false")
    git("-C", str(folder), *author, "commit", "--quiet", "--message=benchmark")
    return folder


def git(*arguments: str) -> str:
    """Return what Git prints."""
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def run_merit(folder: Path) -> Measured:
    """Run the whole path in a copy where nothing was done yet."""
    measured = timed([merit_program(), "run"], folder)
    report = json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))
    with (folder / "training/history.csv").open(encoding="utf-8") as handle:
        measured.epochs = len(list(csv.DictReader(handle)))
    measured.log_loss = report["candidate"]["log_loss"]["value"]
    return measured


def run_plain(folder: Path) -> Measured:
    """Run the script."""
    with tempfile.TemporaryDirectory() as out:
        measured = timed([sys.executable, str(Path(__file__).with_name("plain.py")), out], folder)
        report = json.loads((Path(out) / "metrics.json").read_text(encoding="utf-8"))
    measured.epochs, measured.log_loss = report["epochs"], report["network"]["log_loss"]
    return measured


def merit_program() -> str:
    """Return the path of the command `merit` of this environment."""
    return str(Path(sys.executable).with_name("merit"))


def timed(command: list[str], folder: Path) -> Measured:
    """Run a command to its end; a verdict against the model (exit code 1) is an end like another.

    Raises:
        SystemExit: the command broke.
    """
    # Both get threads that wait alike, and neither tells a tracking server.
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    env |= {"GOMP_SPINCOUNT": "1000", "PYTHONUNBUFFERED": "1"}
    start, cpu = time.perf_counter(), _cpu_of_children()
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.perf_counter() - start, line))
    seconds = time.perf_counter() - start
    if process.returncode not in {0, 1} or any("Traceback" in line for _, line in lines):
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{''.join(line for _, line in lines)}")
    return Measured(seconds, _cpu_of_children() - cpu, parts_of(lines, seconds))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts_of(lines: list[tuple[float, str]], end: float) -> dict[str, float]:
    """Return the seconds of each stage, from when DVC said what; a stage's are with DVC's own work on its outputs."""
    marks = [(0.0, "compose")]
    for at, line in lines:
        if found := re.match(r"Running stage '(\w+)'", line):
            marks.append((at, found[1]))
        elif line.startswith("To track the changes with git"):
            marks.append((at, "gate, register"))
    ends = [at for at, _ in marks[1:]] + [end]
    return {name: until - at for (at, name), until in zip(marks, ends, strict=True)}


def show(merit: list[Measured], plain: list[Measured], idle: float) -> None:
    """Print the medians beside the goals."""
    table = Table("", "merit run", "by hand", "ratio", "goal", "")
    for name in ("seconds", "cpu"):
        ours, theirs = (statistics.median(getattr(each, name) for each in runs) for runs in (merit, plain))
        goal = (f"at most {RATIO_GOAL}", _met(ours / theirs <= RATIO_GOAL)) if name == "seconds" else ("", "")
        table.add_row(name, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}", *goal)
    table.add_row("epochs", str(merit[-1].epochs), str(plain[-1].epochs))
    table.add_row("log loss of the test rows", f"{merit[-1].log_loss:.4f}", f"{plain[-1].log_loss:.4f}")
    for part in merit[0].parts:
        table.add_row(f"  seconds of {part}", f"{statistics.median(each.parts[part] for each in merit):.1f}")
    table.add_row(
        "seconds with nothing to do", f"{idle:.2f}", "", "", f"at most {IDLE_GOAL} s", _met(idle <= IDLE_GOAL)
    )
    Console().print(table)


def _met(met: bool) -> str:
    return "met" if met else "missed"


if __name__ == "__main__":
    main()
