"""What the endpoint answers to broken requests: none may get a 5xx, and no worker may be lost.

Usage, in the root of the repository, where `merit run` has made the package: python benchmarks/fuzz.py [N]
"""

import json
import os
import random
import re
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

from ways import Served, Way, answers, ours, serving

from merit import artifacts
from merit.scoring.package import Package


def main() -> None:
    """Send broken requests, and say what became of them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    row = json.dumps(Package.load(artifacts.PACKAGE).signature["example"]).encode()
    with tempfile.TemporaryDirectory(prefix="merit-fuzz-") as folder:
        os.environ["PEERS"] = folder
        way = ours(Path(folder), row)
        with serving(way) as process:
            fuzzed(way, process, count)


def fuzzed(way: Way, served: Served, count: int) -> None:
    """Send broken requests, and print what they are answered; a 5xx or a lost worker is a fault."""
    draw, pids = random.Random(7), set(served.pids())  # noqa: S311  # the same on every run
    found = Counter(_broken(way, served.port, draw) for _ in range(count))
    print(", ".join(f"{times:,} times {status}" for status, times in sorted(found.items())))
    lost = pids - set(served.pids())
    faults = sum(times for status, times in found.items() if status.startswith("5"))
    print(f"{count:,} broken requests: {faults} answered by a 5xx, {len(lost)} processes lost")
    if faults or lost or not answers(way, served.port):
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
