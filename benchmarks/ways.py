"""Ways to serve the package's model: started, asked and loaded. What `serving.py` and `fuzz.py` share."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


@dataclass
class Way:
    """A way to serve: its command, where it is asked and what, and what was found.

    Attributes:
        body: one row, an object where it takes one.
        lists: what asks about a list of rows, and where.
        row_rates: rows per second by the rows of a list.
    """

    command: list[str]
    path: str = "/predict"
    body: bytes = b""
    lists: Callable[[list[Any]], tuple[str, bytes]] = lambda rows: ("/predict", json.dumps(rows).encode())
    row_rates: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    rates: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    megabytes: int = 0
    failed: int = 0


def ours(folder: Path, row: bytes) -> Way:
    """Return merit's endpoint with metrics, and with a prediction log in a folder."""
    script = Path(__file__).parent / "serve_package.py"
    return Way([sys.executable, str(script), str(folder / "predictions")], body=row)


class Served:
    """A process that serves on a port of 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def pids(self) -> list[int]:
        """Return it and all that it has started; some servers' workers have groups of their own."""
        return [self.process.pid, *(each.pid for each in psutil.Process(self.process.pid).children(recursive=True))]

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
        while not answers(way, port):
            if time.perf_counter() - began > 180 or process.poll() is not None:
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


def answers(way: Way, port: int) -> bool:
    """Say whether it answers."""
    try:
        return bool(asked(way, port))
    except (OSError, urllib.error.HTTPError):
        return False


def asked(way: Way, port: int) -> bytes:
    """Return its answer to its body."""
    return answered(port, way.path, way.body)


def answered(port: int, path: str, body: bytes) -> bytes:
    """Return the answer to a body."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # our own
        return bytes(answer.read())


def load(port: int, path: str, body: bytes, connections: int, seconds: int) -> tuple[float, float, int]:
    """Return requests per second, the 99th percentile (ms), and how many were not answered by a 2xx."""
    script = Path(os.environ["PEERS"]) / "wrk.lua"
    script.with_suffix(".json").write_bytes(body)
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = io.open('{script.with_suffix('.json')}'):read('a')\n"
        "wrk.headers['Content-Type'] = 'application/json'\n",
        encoding="utf-8",
    )
    address = f"http://127.0.0.1:{port}{path}"
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "20s",
        "--latency",
        "-s",
        str(script),
        address,
    ]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rate, tail = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    assert rate is not None
    assert tail is not None
    failed = sum(int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", told))
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    failed += sum(map(int, broken.groups())) if broken else 0
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]], failed
