"""What remembering costs: requests a second with the prediction log, with keys, and without, as ratios in one run.

Usage: python benchmarks/prediction_log.py [PACKAGE]. Needs wrk. A bare uvicorn with one worker scores one row in JSON;
16 connections. All run at once and are asked in turn, a few seconds each; shares are taken within a round.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECONDS, ROUNDS, CONNECTIONS = 2, 20, 16
WAYS = {"plain": {}, "log": {"LOG": "1"}, "keys": {"KEYS": "1"}, "log and keys": {"LOG": "1", "KEYS": "1"}}
SERVER = """
import os, sys
import uvicorn
from merit.serving import mount

told = {"log": {"folder": "log", "seconds": 2.0}} if os.environ.get("LOG") else {}
if os.environ.get("KEYS"):
    told["auth"] = {"method": "keys", "keys": "keys.yaml"}
app = mount.app(sys.argv[2], **told)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def main() -> None:
    """Measure and print."""
    package = Path(sys.argv[1] if len(sys.argv) > 1 else "model").resolve()
    body = json.dumps(json.loads((package / "signature.json").read_text())["example"])
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        rooms = {way: Path(stack.enter_context(tempfile.TemporaryDirectory())) for way in WAYS}
        ways = {way: stack.enter_context(_served(rooms[way], package, told)) for way, told in WAYS.items()}
        for turn in range(ROUNDS + 1):
            for way in list(WAYS)[:: -1 if turn % 2 else 1]:
                port, key, pid = ways[way]
                before = _cpu(pid)
                rate, late = _load(rooms[way], port, key, body, SECONDS)
                found[way].append((rate, late, (_cpu(pid) - before) / rate / SECONDS * 1e6))
        lost = sum(_lost(port, key) for port, key, _ in ways.values())
    for way, (_, *rounds) in found.items():  # the first only warms up
        share = statistics.median(each[0] / plain[0] for each, plain in zip(rounds, found["plain"][1:], strict=True))
        rate, late, cpu = (statistics.median(values) for values in zip(*rounds, strict=True))
        told = f"{rate:8.0f} requests/s  {share:5.2f} of plain  p99 {late:5.2f} ms  {cpu:6.1f} us of CPU each"
        print(f"{way:14} {told}")
    print(f"{CONNECTIONS} connections, one worker, {ROUNDS} rounds of {SECONDS} s; {lost} lost")


@contextmanager
def _served(room: Path, package: Path, told: dict[str, str]) -> Iterator[tuple[int, str, int]]:
    from merit.serving.auth import api_keys

    key, entry = api_keys.create_key("bench", expires=None, quota=None, roles=("predict", "metrics"))
    (room / "keys.yaml").write_text(api_keys.render_keys([entry]))
    (room / "server.py").write_text(SERVER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "server.py", str(port), str(package)], cwd=room, env={**os.environ, **told}
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port, key, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _lost(port: int, key: str) -> int:
    """Return how many predictions the log has not kept."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # our own
        text = answer.read().decode()
    return sum(int(each) for each in re.findall(r"^merit_log_(?:dropped|failed)_total.* (\d+)$", text, re.MULTILINE))


def _cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _load(room: Path, port: int, key: str, body: str, seconds: int) -> tuple[float, float]:
    """Return requests a second, and the latency that 99 % are below, in ms."""
    script = f"wrk.method = 'POST'\nwrk.body = {json.dumps(body)}\nwrk.headers['authorization'] = 'Bearer {key}'\n"
    (room / "post.lua").write_text(script)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(room / "post.lua")]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in done:
        raise SystemExit(done)
    late, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done).groups()  # type: ignore[union-attr]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]
    return rate, float(late) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


if __name__ == "__main__":
    main()
