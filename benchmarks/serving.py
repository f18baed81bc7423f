"""What the endpoint answers per second, beside other ways to serve the same model, one after another in each round.

One worker each, one row a request, kept connections, by wrk, on this machine's cores, which wrk takes a share of. Ours
has metrics and the prediction log on. Before it is measured each must give the package's own answer to the row. Cold
start is from the command to the first answer; memory is that of all its processes.

Usage, in the root of the repository, where `merit run` has made the package:
    python benchmarks/serving.py [--connections N] [--seconds N] [--rounds N] [--only NAME,...]
    python benchmarks/serving.py --soak SECONDS | --fuzz N
"""

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import peers
from rich.console import Console
from rich.table import Table

from merit import artifacts
from merit.scoring import Package
from merit.serving.rows import Rows

MERIT = "merit serve, metrics and prediction log on"
BARE = "bare uvicorn with merit's handler"
GOALS = {
    "FastAPI + PyTorch": 6.5,
    "FastAPI + ONNX Runtime": 3.0,
    "LitServe + ONNX Runtime": 10.0,
    "BentoML's tutorial + PyTorch": 20.0,
    "MLflow models serve": 80.0,
    BARE: 0.85,
}
"""merit's requests per second, to the others'."""
LATENCY_GOAL = 2.0
"""merit's 99th percentile to that of its handler under bare uvicorn."""
START_GOAL, MEMORY_GOAL = 2.0, 300
"""Seconds to the first answer, and megabytes."""
TOLERANCE = 1e-5


@dataclass
class Way:
    """A way to serve: its command, where it is asked and what, and what was found."""

    command: list[str]
    path: str = "/predict"
    body: bytes = b""
    rates: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    megabytes: int = 0
    failed: int = 0


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
        if not arguments.soak and not arguments.fuzz:
            peers.prepare(Path(folder))
            compared(ways, arguments, _answer(package))
            return
        with serving(ways[MERIT]) as process:
            if arguments.fuzz:
                fuzzed(ways[MERIT], process, arguments.fuzz)
            if arguments.soak:
                soaked(ways[MERIT], process, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=16, help="kept open by wrk")
    parser.add_argument("--seconds", type=int, default=8, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each way, in alternating order")
    parser.add_argument("--only", help="parts of names, joined by commas")
    parser.add_argument("--soak", type=int, help="instead: so many seconds of load, and how memory goes")
    parser.add_argument("--fuzz", type=int, help="instead: so many broken requests, and what they are answered")
    return parser.parse_args()


def _ways(folder: Path, package: Package) -> dict[str, Way]:
    row = json.dumps(package.signature["example"]).encode()
    python, here = sys.executable, Path(__file__).parent
    bin_ = Path(python).parent
    # The command line has no words for the log: the lock that is served by says so.
    told = {"log": {"folder": str(folder / "predictions")}}
    ours = [python, "-c", OURS, json.dumps(told)]
    ways = {
        MERIT: Way(ours, body=row),
        BARE: Way([python, str(here / "peers.py"), "bare"], body=row),
        "FastAPI + PyTorch": Way([python, str(here / "peers.py"), "fastapi-torch"], body=row),
        "FastAPI + ONNX Runtime": Way([python, str(here / "peers.py"), "fastapi-onnx"], body=row),
        "LitServe + ONNX Runtime": Way([python, str(here / "lit.py")], body=row),
        "BentoML's tutorial + PyTorch": Way(
            [str(bin_ / "bentoml"), "serve", "tutorial:Tutorial", "--working-dir", str(here),
             "--host", "127.0.0.1", "--port"],
            body=json.dumps({"row": package.signature["example"]}).encode(),
        ),
        "MLflow models serve": Way(
            [str(bin_ / "mlflow"), "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local",
             "--host", "127.0.0.1", "--workers", "1", "--port"],
            "/invocations",
            json.dumps({"dataframe_records": [package.signature["example"]]}).encode(),
        ),
        "bare uvicorn that echoes": Way([python, str(here / "peers.py"), "echo"], body=row),
    }  # fmt: skip
    if importlib.util.find_spec("litserve") is None:
        print("litserve is not installed, so it is left out: pip install litserve")
        del ways["LitServe + ONNX Runtime"]
    return ways


OURS = """
import json, sys
from merit.config import lock
from merit.serving.serve import serve
how = lock.read().serve
told = json.loads(sys.argv[1])
how = how.model_copy(update={"port": int(sys.argv[2]), "log": how.log.model_copy(update=told["log"])})
serve(how)
"""


def _answer(package: Package) -> float:
    """Return the package's answer to its example."""
    columns = Rows(package, 1).columns(json.dumps(package.signature["example"]).encode())
    return float(np.ravel(package.predict(columns))[0])


def compared(ways: dict[str, Way], arguments: argparse.Namespace, expected: float) -> None:
    """Measure all ways in turn, and print."""
    load = os.getloadavg()[0]
    for turn in range(arguments.rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            with serving(ways[name]) as process:
                if "echo" not in name:
                    _check(name, ways[name], process.port, expected)
                measure(ways[name], process, arguments)
    show(ways, arguments)
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


class Served:
    """A process group that serves on a port of 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def pids(self) -> list[int]:
        """Return its processes."""
        found = subprocess.run(["pgrep", "-g", str(self.process.pid)], stdout=subprocess.PIPE, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def megabytes(self) -> int:
        """Return the memory of all its processes, shared pages shared out."""
        total = 0
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total // 1024


@contextmanager
def serving(way: Way) -> Iterator[Served]:
    """Start a way, yield it once it answers, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = [os.environ["PEERS"]] if way.command[1].endswith("peers.py") else []
    env = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "GOMP_SPINCOUNT": "1000"}
    log = Path(os.environ["PEERS"]) / "log.txt"
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*way.command, str(port), *folder], env=env, stdout=out, stderr=out, start_new_session=True
        )
    served = Served(process, port)
    try:
        while not _answers(way, port):
            if time.perf_counter() - began > 60 or process.poll() is not None:
                raise SystemExit(f"{way.command}: does not answer: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        way.starts.append(time.perf_counter() - began)
        yield served
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(way: Way, port: int) -> bool:
    try:
        return bool(_asked(way, port))
    except (OSError, urllib.error.HTTPError):
        return False


def _asked(way: Way, port: int) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{way.path}", data=way.body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # our own
        return bytes(answer.read())


def _check(name: str, way: Way, port: int, expected: float) -> None:
    """Hold an answer against the package's own."""
    told = _asked(way, port).decode()
    numbers = [float(each) for each in re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?", told)]
    if not any(abs(each - expected) <= TOLERANCE for each in numbers):
        raise SystemExit(f"{name}: answers {told[:200]}, but the package says {expected}")


def measure(way: Way, served: Served, arguments: argparse.Namespace) -> None:
    """Warm it up, then note its rate, its 99th percentile and its memory."""
    _wrk(way, served.port, arguments.connections, 2)
    rate, tail, failed = _wrk(way, served.port, arguments.connections, arguments.seconds)
    way.rates.append(rate)
    way.tails.append(tail)
    way.failed += failed
    way.megabytes = max(way.megabytes, served.megabytes())


def _wrk(way: Way, port: int, connections: int, seconds: int) -> tuple[float, float, int]:
    """Return requests per second, the 99th percentile (ms), and how many were not answered by a 2xx."""
    script = Path(os.environ["PEERS"]) / "wrk.lua"
    quoted = way.body.decode().replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{quoted}'\nwrk.headers['Content-Type'] = 'application/json'\n",
        encoding="utf-8",
    )
    address = f"http://127.0.0.1:{port}{way.path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), address]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rate, tail = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    assert rate is not None
    assert tail is not None
    failed = sum(int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", told))
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    failed += sum(map(int, broken.groups())) if broken else 0
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]], failed


def show(ways: dict[str, Way], arguments: argparse.Namespace) -> None:
    """Print the medians, and merit's share in each, beside the goals; shares are taken within a round."""
    title = f"{arguments.connections} connections, 1 worker, 1 row"
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


def _judge(what: str, found: float, goal: float) -> None:
    print(f"{what}: {found:.2f}; goal: at most {goal:g}: {'met' if found <= goal else 'missed'}")


def soaked(way: Way, served: Served, arguments: argparse.Namespace) -> None:
    """Load it for long, and print its memory as it goes."""
    ends = time.monotonic() + arguments.soak
    found: list[tuple[int, float]] = []
    while time.monotonic() < ends:
        rate, _, failed = _wrk(way, served.port, arguments.connections, min(30, arguments.soak))
        way.failed += failed
        found.append((served.megabytes(), rate))
        print(f"{len(found) * 30:>5} s  {found[-1][0]} MB  {rate:,.0f} requests/s  {way.failed} failed", flush=True)
    _judge("megabytes at the end", found[-1][0], MEMORY_GOAL)


def fuzzed(way: Way, served: Served, count: int) -> None:
    """Send broken requests, and print what they are answered; a 5xx or a lost worker is a fault."""
    draw, pids = random.Random(7), set(served.pids())  # noqa: S311  # the same on every run
    answers = Counter(_broken(way, served.port, draw) for _ in range(count))
    print(", ".join(f"{times:,} times {status}" for status, times in sorted(answers.items())))
    lost = pids - set(served.pids())
    faults = sum(times for status, times in answers.items() if status.startswith("5"))
    print(f"{count:,} broken requests: {faults} answered by a 5xx, {len(lost)} processes lost")
    if faults or lost or not _answers(way, served.port):
        raise SystemExit(1)


def _broken(way: Way, port: int, draw: random.Random) -> str:
    """Send one broken request by a socket of its own; return the status, or how the connection ended."""
    body = bytearray(way.body)
    for _ in range(draw.randint(1, 8)):
        place = draw.randrange(len(body))
        change = draw.randrange(4)
        if change == 0:
            body[place] = draw.randrange(256)
        elif change == 1:
            del body[place : place + draw.randint(1, 40)]
        elif change == 2:
            body[place:place] = draw.randbytes(draw.randint(1, 20))
        else:
            body[place:place] = draw.choice([b"null", b"1e999", b"[]", b"{}", b'"\\ud800"', b"-0", b"NaN", b"[" * 200])
        if not body:
            body = bytearray(b"x")
    length = len(body) if draw.random() < 0.95 else draw.choice([-1, 0, len(body) - 1, 10**12])
    kind = draw.choice([b"application/json"] * 6 + [b"application/vnd.apache.arrow.stream", b"text/plain", b"\xff"])
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    raw = head % (kind, length) + bytes(body)
    if draw.random() < 0.05:
        raw = draw.randbytes(draw.randint(1, 300))
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
        except (TimeoutError, ConnectionError):
            return "reset"
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return status[1].decode() if status else "closed"


if __name__ == "__main__":
    main()
