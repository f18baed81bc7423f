"""How an epoch's time and memory grow with the rows: the reference rows, repeated to each size.

Each size is trained on for one epoch in a process of its own, in a folder of its own. Rows past trainer.memory_mb are
read from their file. The goal: seconds per row at the largest size at most 1.25 times those at the smallest, and
memory (the peak of the process, without what the system keeps of files) that has stopped to grow.

Usage, in the root of the repository, where `merit run` has made the features:
    python benchmarks/scale.py [OVERRIDE]... [--rows N,N,...]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file, save_file

from merit import artifacts

ROWS = "200000,2000000,20000000"
MEMORY_MB = 512
GOAL = 1.25
TRAIN = """
import resource, sys, time
import lightning.pytorch as lightning
from merit.config import lock
from merit.training import train
class Clock(lightning.Callback):
    def on_train_epoch_start(self, *_): self.began = time.perf_counter()
    def on_validation_start(self, *_): self.seconds = time.perf_counter() - self.began
clock, make = Clock(), train.build_trainer
train.build_trainer = lambda settings, callbacks: make(settings, [*callbacks, clock])
train.train(lock.read_lock())
print(clock.seconds, file=sys.stderr)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", default=["model=linear"], metavar="OVERRIDE")
    parser.add_argument("--rows", default=ROWS, help="sizes, joined by commas")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",")]
    table = Table("rows", "file", "an epoch", "rows/s", "peak memory", "of it anonymous")
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="merit-scale-", dir=".") as folder:
            file = prepare(Path(folder), size, arguments.overrides)
            seconds, peak, private = trained(Path(folder))
        found.append(seconds / size)
        table.add_row(
            f"{size:,}", f"{file:,} MB", f"{seconds:.1f} s", f"{size / seconds:,.0f}", f"{peak:,} MB", f"{private:,} MB"
        )
    Console().print(table)
    ratio = found[-1] / found[0]
    print(f"seconds per row, the largest size to the smallest: {ratio:.2f}; {'met' if ratio <= GOAL else 'missed'}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def prepare(folder: Path, size: int, overrides: list[str]) -> int:
    """Make a folder to train in; return the size of its training rows (MB)."""
    for name in ("conf", "pyproject.toml"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / artifacts.FEATURES).mkdir(parents=True)
    for path in (artifacts.FEATURES_REPORT, artifacts.part_path("validation")):
        shutil.copy(path, folder / path)
    rows = load_file(artifacts.part_path("train"))
    repeated = {name: np.resize(values, (size, *values.shape[1:])) for name, values in rows.items()}
    save_file(repeated, folder / artifacts.part_path("train"))
    short = ["trainer.max_epochs=1", f"trainer.memory_mb={MEMORY_MB}"]
    subprocess.run([Path(sys.executable).parent / "merit", "compose", *overrides, *short], cwd=folder, check=True)
    return (folder / artifacts.part_path("train")).stat().st_size // 2**20


def trained(folder: Path) -> tuple[float, int, int]:
    """Train; return the seconds of the epoch, the peak of memory, and the peak of what is not mapped files (MB)."""
    process = subprocess.Popen([sys.executable, "-c", TRAIN], cwd=folder, stderr=subprocess.PIPE, text=True)
    peak = private = 0
    while process.poll() is None:
        peak, private = max(peak, status(process.pid, "VmHWM")), max(private, status(process.pid, "RssAnon"))
        time.sleep(0.2)
    assert process.stderr is not None
    return float(process.stderr.read().strip().splitlines()[-1]), peak, private


def status(pid: int, key: str) -> int:
    """Return a figure of a process, such as VmHWM (MB); 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) // 2**10 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
