"""What the endpoint answers per second, beside other ways to serve the same model, one after another in each round.

One worker each, kept connections, by wrk, on this machine's cores, which wrk takes a share of. Each is asked one row as
an object, then lists of 1 to 1,000 rows. Ours has metrics and the prediction log on. Before it is measured each must
give the package's own answer to each row. Cold start is from the command to the first answer; memory is that of all its
processes.

Usage, in the root of the repository, where `merit run` has made the package:
    python benchmarks/serving.py [--connections N] [--seconds N] [--rounds N] [--only NAME,...] [--rows N,...]
    python benchmarks/serving.py --soak SECONDS
"""

import argparse
import importlib.util
import json
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers
from rich.console import Console
from rich.table import Table
from ways import Served, Way, answered, load, ours, serving

from merit import artifacts
from merit.scoring.package import Package
from merit.serving.app.row_decoder import RowDecoder

MERIT = "merit serve, metrics and prediction log on"
BARE = "bare uvicorn with merit's handler"
MLFLOW = "MLflow models serve + PyTorch"
GOALS = {
    "FastAPI + PyTorch": 6.5,
    "FastAPI + ONNX Runtime": 3.0,
    "LitServe + ONNX Runtime": 10.0,
    "BentoML's tutorial + PyTorch": 20.0,
    MLFLOW: 80.0,
    BARE: 0.85,
}
"""merit's requests per second, to the others'."""
LATENCY_GOAL = 2.0
"""merit's 99th percentile to that of its handler under bare uvicorn."""
LIST_GOAL = 0.9
"""Requests per second of a list of one row, to those of the row as an object."""
START_GOAL, MEMORY_GOAL = 2.0, 300
"""Seconds to the first answer, and megabytes."""
TOLERANCE = 1e-5


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="merit-serving-") as folder:
        os.environ["PEERS"] = folder
        package = Package.load(artifacts.PACKAGE)
        ways = _ways(Path(folder), package)
        if arguments.only:
            ways = {name: way for name, way in ways.items() if any(each in name for each in arguments.only.split(","))}
        if not arguments.soak:
            peers.prepare(Path(folder))
            compared(ways, arguments, package)
            return
        with serving(ways[MERIT]) as process:
            soaked(ways[MERIT], process, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=16, help="kept open by wrk")
    parser.add_argument("--seconds", type=int, default=8, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each way, in alternating order")
    parser.add_argument("--only", help="parts of names, joined by commas")
    parser.add_argument("--rows", type=_sizes, default=[1, 4, 16, 100, 1000], help="of the lists, joined by commas")
    parser.add_argument("--soak", type=int, help="instead: so many seconds of load, and how memory goes")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _ways(folder: Path, package: Package) -> dict[str, Way]:
    row = json.dumps(package.signature["example"]).encode()
    python, here = sys.executable, Path(__file__).parent
    bin_ = Path(python).parent
    ways = {
        MERIT: ours(folder, row),
        BARE: Way([python, str(here / "peers.py"), "bare"], body=row),
        "FastAPI + PyTorch": Way([python, str(here / "peers.py"), "fastapi-torch"], body=row, lists=_at_rows),
        "FastAPI + ONNX Runtime": Way([python, str(here / "peers.py"), "fastapi-onnx"], body=row, lists=_at_rows),
        "LitServe + ONNX Runtime": Way(
            [python, str(here / "lit.py")],
            body=row,
            lists=lambda rows: ("/predict", json.dumps({"rows": rows}).encode()),
        ),
        "BentoML's tutorial + PyTorch": Way(
            [str(bin_ / "bentoml"), "serve", "tutorial:Tutorial", "--working-dir", str(here),
             "--host", "127.0.0.1", "--port"],
            body=json.dumps({"row": package.signature["example"]}).encode(),
            lists=lambda rows: ("/predict_rows", json.dumps({"rows": rows}).encode()),
        ),
        MLFLOW: _mlflow(folder / "mlflow", package),
        "MLflow + ONNX Runtime": _mlflow(folder / "mlflow-onnx", package),
        "bare uvicorn that echoes": Way([python, str(here / "peers.py"), "echo"], body=row),
    }  # fmt: skip
    if importlib.util.find_spec("litserve") is None:
        print("litserve is not installed, so it is left out: pip install litserve")
        del ways["LitServe + ONNX Runtime"]
    return ways


def _at_rows(rows: list[Any]) -> tuple[str, bytes]:
    return "/rows", json.dumps(rows).encode()


def _mlflow(model: Path, package: Package) -> Way:
    def records(rows: list[Any]) -> tuple[str, bytes]:
        return "/invocations", json.dumps({"dataframe_records": rows}).encode()

    program = str(Path(sys.executable).parent / "mlflow")
    command = [program, "models", "serve", "-m", str(model), "--env-manager", "local", "--host", "127.0.0.1",
               "--workers", "1", "--port"]  # fmt: skip
    return Way(command, *records([package.signature["example"]]), lists=records)


def compared(ways: dict[str, Way], arguments: argparse.Namespace, package: Package) -> None:
    """Measure all ways in turn, and print."""
    before = os.getloadavg()[0]
    for turn in range(arguments.rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            with serving(ways[name]) as process:
                measure(name, ways[name], process, arguments, package)
    show(ways, arguments)
    show_lists(ways, arguments)
    print(f"load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def measure(name: str, way: Way, served: Served, arguments: argparse.Namespace, package: Package) -> None:
    """Warm it up, then note its rates, its 99th percentile and its memory."""
    example = package.signature["example"]
    expected = _answer(package)
    for size in (None, *arguments.rows):
        path, body = (way.path, way.body) if size is None else way.lists([example] * size)
        if "echo" not in name:
            _check(name, answered(served.port, path, body).decode(), [expected] * (size or 1))
        load(served.port, path, body, arguments.connections, 2)
        rate, tail, failed = load(served.port, path, body, arguments.connections, arguments.seconds)
        way.failed += failed
        if size is None:
            way.rates.append(rate)
            way.tails.append(tail)
            way.megabytes = max(way.megabytes, served.megabytes())
        else:
            way.row_rates[size].append(rate * size)


def _answer(package: Package) -> float:
    """Return the package's answer to its example."""
    columns = RowDecoder(package, 1).decode_columns(json.dumps(package.signature["example"]).encode())
    return float(np.ravel(package.predict(columns))[0])


def _check(name: str, answer: str, expected: list[float]) -> None:
    """Hold an answer against the package's own."""
    numbers = [float(each) for each in re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?", answer)]
    right = sum(abs(each - expected[0]) <= TOLERANCE for each in numbers)
    if right != len(expected):
        raise SystemExit(f"{name}: answers {answer[:200]}, but the package says {len(expected)} times {expected[0]}")


def show(ways: dict[str, Way], arguments: argparse.Namespace) -> None:
    """Print the medians, and merit's share in each, beside the goals; shares are taken within a round."""
    title = f"{arguments.connections} connections, 1 worker, 1 row, an object"
    table = Table(title, "requests/s", "p99, ms", "failed", "merit to it",
                  "goal", "", "first answer, s", "MB")  # fmt: skip
    ours = ways.get(MERIT)
    for name, way in ways.items():
        beside = ("", "", "")
        if ours is not None and way is not ours:
            share = statistics.median(a / b for a, b in zip(ours.rates, way.rates, strict=True))
            goal = GOALS.get(name)
            met = "" if goal is None else "met" if share >= goal else "missed"
            beside = (f"{share:.2f}", "" if goal is None else f"at least {goal:g}", met)
        rate, tail, start = (statistics.median(each) for each in (way.rates, way.tails, way.starts))
        table.add_row(name, f"{rate:,.0f}", f"{tail:.1f}", str(way.failed), *beside, f"{start:.1f}", f"{way.megabytes}")
    Console(width=130).print(table)
    if ours is not None:
        _judge("seconds to the first answer", statistics.median(ours.starts), START_GOAL)
        _judge("megabytes", ours.megabytes, MEMORY_GOAL)
    if ours is not None and BARE in ways:
        tails = statistics.median(a / b for a, b in zip(ours.tails, ways[BARE].tails, strict=True))
        _judge("99th percentile to bare uvicorn's", tails, LATENCY_GOAL)


def show_lists(ways: dict[str, Way], arguments: argparse.Namespace) -> None:
    """Print the rows per second of lists, in brackets merit's to them, and how lists do beside a row by itself."""
    sizes = [f"{size:,} rows" if size > 1 else "1 row" for size in arguments.rows]
    table = Table("rows per second (merit to it)", "an object", *(f"a list of {size}" for size in sizes))
    ours = ways.get(MERIT)
    for name, way in ways.items():
        measured = [(way.rates, ours and ours.rates)]
        measured += [(way.row_rates[size], ours and ours.row_rates[size]) for size in arguments.rows]
        table.add_row(name, *(_cell(rates, None if way is ours else of_ours) for rates, of_ours in measured))
    Console(width=150).print(table)
    if ours is None:
        return
    if 1 in arguments.rows:
        share = statistics.median(a / b for a, b in zip(ours.row_rates[1], ours.rates, strict=True))
        met = "met" if share >= LIST_GOAL else "missed"
        print(f"a list of one row to the row as an object: {share:.2f}; goal: at least {LIST_GOAL:g}: {met}")
    medians = [statistics.median(ours.row_rates[size]) for size in sorted(arguments.rows)]
    print(f"rows per second rise with the list: {'met' if medians == sorted(medians) else 'missed'}")


def _cell(rates: list[float], of_ours: list[float] | None) -> str:
    rate = f"{statistics.median(rates):,.0f}"
    if of_ours is None:
        return rate
    shares = [a / b if b else math.inf for a, b in zip(of_ours, rates, strict=True)]
    return f"{rate} ({statistics.median(shares):.3g})"


def _judge(what: str, found: float, goal: float) -> None:
    print(f"{what}: {found:.2f}; goal: at most {goal:g}: {'met' if found <= goal else 'missed'}")


def soaked(way: Way, served: Served, arguments: argparse.Namespace) -> None:
    """Load it for long, and print its memory as it goes."""
    ends = time.monotonic() + arguments.soak
    found: list[tuple[int, float]] = []
    while time.monotonic() < ends:
        rate, _, failed = load(served.port, way.path, way.body, arguments.connections, min(30, arguments.soak))
        way.failed += failed
        found.append((served.megabytes(), rate))
        print(f"{len(found) * 30:>5} s  {found[-1][0]} MB  {rate:,.0f} requests/s  {way.failed} failed", flush=True)
    _judge("megabytes at the end", found[-1][0], MEMORY_GOAL)


if __name__ == "__main__":
    main()
