"""How fast `merit predict` scores a table, beside a loop by hand and MLflow, and whether its memory grows with rows.

All score the same Parquet file of the reference rows, repeated, into Parquet files: merit; the shortest loop that
Polars and ONNX Runtime make, chunk by chunk, with all of ONNX Runtime's threads and no contract, version or resuming;
and `mlflow.pyfunc`, given pandas and saved with a signature: the network in PyTorch as a Python model, and the
package's graph in MLflow's own flavour. Each is a process of its own, its imports not counted; rounds alternate. Where
others use the machine, processor time tells more than the clock. Memory is the peak of merit's process.

Usage, in the root of the repository, where `merit run` has made the package:
    python benchmarks/batch.py [--rows N] [--rounds N] [--memory N,N,...]
The heavier the network, the nearer to one another all are: most of the time is then the same multiplication.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
import polars as pl
from rich.console import Console
from rich.table import Table
from scale import status

from merit import artifacts

GOALS = {"loop": 0.9, "mlflow, PyTorch": 5.0}
MILLION = 1_000_000
MERIT = """
import sys, time
from pathlib import Path
from merit.batch import output, predict
from merit.batch.job import Job
from merit.process import cores
began, worked = time.perf_counter(), time.process_time()
settings = Job(Path("model").absolute(), output.parse_output(sys.argv[2]), workers=cores.count_cores())
source = predict.open_source(sys.argv[1], None, None)
predict.predict(source, settings, report_progress=lambda done, total: None)
print(time.perf_counter() - began, time.process_time() - worked)
"""
LOOP = """
import sys, time
from pathlib import Path
import numpy as np, onnxruntime, polars as pl
began, worked = time.perf_counter(), time.process_time()
session = onnxruntime.InferenceSession("model/model.onnx")
kinds = {each.name: each.type for each in session.get_inputs()}
def column(values, kind):
    if kind == "tensor(string)":
        return values.fill_null("").to_numpy()
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
place = Path(sys.argv[2])
place.mkdir()
for number, rows in enumerate(pl.scan_parquet(sys.argv[1]).collect_batches(chunk_size=65536)):
    found = session.run(None, {name: column(rows[name], kind) for name, kind in kinds.items()})[0]
    rows.with_columns(prediction=pl.Series(found)).write_parquet(place / f"{number}.parquet")
print(time.perf_counter() - began, time.process_time() - worked)
"""
SAVE = """
import sys
import mlflow, onnx, pandas as pd
from mlflow.models import infer_signature
rows = pd.read_parquet(sys.argv[1]).head(100)
graph = onnx.load("model/model.onnx")
taken = rows[[each.name for each in graph.graph.input]]
taken = taken.astype({name: "float64" for name in taken if taken[name].dtype.kind in "iub"})
mlflow.onnx.save_model(graph, sys.argv[2], signature=infer_signature(taken))
"""
MLFLOW = """
import sys, time
import mlflow.pyfunc, pandas as pd
began, worked = time.perf_counter(), time.process_time()
model = mlflow.pyfunc.load_model(sys.argv[3])
rows = pd.read_parquet(sys.argv[1])
names = model.metadata.get_input_schema().input_names()
numbers = {name: "float64" for name in names if rows[name].dtype.kind in "iub"}
found = model.predict(rows[names].astype(numbers))
rows.assign(prediction=found["prediction"] if isinstance(found, dict) else found).to_parquet(sys.argv[2])
print(time.perf_counter() - began, time.process_time() - worked)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=MILLION, help="rows that all score")
    parser.add_argument("--rounds", type=int, default=3, help="how often each does")
    parser.add_argument("--memory", default="1000000,10000000,50000000", help="sizes, joined by commas; '' for none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="merit-batch-", dir="data") as name:
        room = Path(name)
        compare(room, arguments.rows, arguments.rounds)
        if arguments.memory:
            grow(room, [int(size) for size in arguments.memory.split(",")])
    print(f"load of the machine: {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def compare(room: Path, rows: int, rounds: int) -> None:
    """Score the same rows by each, round by round, and print the ratios."""
    table = repeated(room / "rows.parquet", rows)
    saved = room / "saved"
    saved.mkdir()
    peers.prepare(saved)
    graph = saved / "graph"
    subprocess.run([sys.executable, "-c", SAVE, artifacts.TEST_ROWS, graph], check=True, capture_output=True)
    ways = {"merit": (MERIT, saved), "loop": (LOOP, saved), "mlflow, PyTorch": (MLFLOW, saved / "mlflow"),
            "mlflow, ONNX": (MLFLOW, graph)}  # fmt: skip
    seconds: dict[str, list[float]] = {kind: [] for kind in ways}
    work: dict[str, list[float]] = {kind: [] for kind in ways}
    for turn in range(rounds):
        for kind, (code, model) in ways.items():
            taken = ran(code, table, room / f"{kind}-{turn}", model)
            seconds[kind].append(taken[0])
            work[kind].append(taken[1])
    shown = Table("what", "rows/s", "of each round", "merit to it", "goal", "processor time per row", "merit to it")
    ours, ours_work = statistics.median(seconds["merit"]), statistics.median(work["merit"])
    for kind, found in seconds.items():
        goal = f"at least {GOALS[kind]}" if kind in GOALS else ""
        each = ", ".join(f"{rows / one:,.0f}" for one in found)
        middle = statistics.median(found)
        worked = statistics.median(work[kind])
        told = (f"{worked / rows * 1e6:.2f} us", f"{worked / ours_work:.2f}")
        shown.add_row(kind, f"{rows / middle:,.0f}", each, f"{middle / ours:.2f}", goal, *told)
    Console(width=130).print(shown)


def grow(room: Path, sizes: list[int]) -> None:
    """Score more and more rows, and print what memory that takes."""
    million = repeated(room / "million.parquet", MILLION)
    shown = Table("rows", "seconds", "rows/s", "peak memory", "of it anonymous")
    for size in sizes:
        folder = room / f"of-{size}"
        folder.mkdir()
        for number in range(max(1, size // MILLION)):
            os.link(million, folder / f"{number:05d}.parquet")
        place = room / f"scored-{size}"
        seconds, _, peak, private = ran(MERIT, folder, place)
        subprocess.run(["rm", "-r", place], check=True)
        shown.add_row(f"{size:,}", f"{seconds:.0f}", f"{size / seconds:,.0f}", f"{peak:,} MB", f"{private:,} MB")
    Console().print(shown)


def repeated(place: Path, size: int) -> Path:
    """Write the reference's test rows again and again, to so many."""
    rows = pl.read_parquet(artifacts.TEST_ROWS)
    pl.concat([rows] * (size // rows.height + 1))[:size].write_parquet(place)
    return place


def ran(code: str, *args: Path) -> tuple[float, float, int, int]:
    """Run code; return its seconds, those of the processor, the peak of memory, and that of no mapped files (MB)."""
    process = subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True)
    peak = private = 0
    while process.poll() is None:
        peak, private = max(peak, status(process.pid, "VmHWM")), max(private, status(process.pid, "RssAnon"))
        time.sleep(0.1)
    assert process.stdout is not None
    assert process.returncode == 0, "it failed; its error stands above"
    seconds, worked = process.stdout.read().strip().splitlines()[-1].split()
    return float(seconds), float(worked), peak, private


if __name__ == "__main__":
    main()
