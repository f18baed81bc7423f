"""Events per second through `merit stream`: one worker, one broker on the same machine, events that wait already.

Run from a project's root with a package in model/: `python benchmarks/stream.py [--events 20000] [--broker nats]`.
The time is the broker's own: from its first answer to its last. `scorer` is the same events without a broker.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import brokers

from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.stream.events import Event
from merit.stream.scorer import EventScorer


def main() -> None:
    """Measure, and print JSON."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--events", type=int, default=20_000)
    asked.add_argument("--broker", choices=["nats", "redis"], default="nats")
    asked.add_argument("--rows", type=int, default=256)
    told = asked.parse_args()
    package = Package.load(Path("model"))
    row = package.signature["example"]
    events = [msgspec.json.encode({"id": f"e{number}", **row}) for number in range(told.events)]
    found = {"broker": told.broker, "events": told.events, "rows": told.rows, "cores": os.cpu_count()}
    found["scorer_per_second"] = _scored(package, events, told.rows)
    with tempfile.TemporaryDirectory() as folder:
        start = brokers.nats if told.broker == "nats" else brokers.redis
        with start(Path(folder)) as server:
            run = _through_nats if told.broker == "nats" else _through_redis
            before = _cpu()
            found["stream_per_second"] = asyncio.run(run(server.port, events, told.rows))
            found["worker_cpu_us_per_event"] = round((_cpu() - before) / told.events * 1e6)
    found["share_of_scorer"] = round(found["stream_per_second"] / found["scorer_per_second"], 2)
    print(json.dumps(found, indent=2))


def _scored(package: Package, events: list[bytes], rows: int) -> int:
    scorer = EventScorer(ServedModel(package, "v1", rows), [each["name"] for each in package.inputs], "id")
    began = time.perf_counter()
    for start in range(0, len(events), rows):
        scorer.score([Event(raw, "place") for raw in events[start : start + rows]])
    return round(len(events) / (time.perf_counter() - began))


def _cpu() -> float:
    """Return the processor seconds of what has ended: here the worker, with its start."""
    told = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told.ru_utime + told.ru_stime


def _worker(broker: str, url: str, rows: int) -> subprocess.Popen[bytes]:
    code = (
        "import sys\n"
        "from merit.config.schema.release import Signing\n"
        "from merit.config.schema.stream import Stream\n"
        "from merit.stream.worker import run_worker\n"
        f"how = Stream(broker={broker!r}, url={url!r}, rows={rows}, metrics_port=None)\n"
        "run_worker(how, 'v1', Signing(), lambda line: print(line, file=sys.stderr))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code])


async def _through_nats(port: int, events: list[bytes], rows: int) -> int:
    import nats

    url = f"nats://127.0.0.1:{port}"
    client = await nats.connect(url)
    js = client.jetstream()
    for name in ("events", "predictions", "dead"):
        await js.add_stream(name=name, subjects=[name])
    for start in range(0, len(events), 500):
        await asyncio.gather(*(js.publish("events", event) for event in events[start : start + 500]))
    worker = _worker("nats", url, rows)
    try:
        while (await js.stream_info("predictions")).state.messages < len(events):
            await asyncio.sleep(0.2)
        first, last = [await js.get_msg("predictions", place) for place in (1, len(events))]
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    await client.close()
    return _rate(events, (last.time - first.time).total_seconds())


async def _through_redis(port: int, events: list[bytes], rows: int) -> int:
    from redis.asyncio import Redis

    url = f"redis://127.0.0.1:{port}"
    client: Any = Redis.from_url(url)
    for event in events:
        await client.xadd("events", {"data": event})
    worker = _worker("redis", url, rows)
    try:
        while await client.xlen("predictions") < len(events):
            await asyncio.sleep(0.2)
        ends = [await each("predictions", count=1) for each in (client.xrange, client.xrevrange)]
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    await client.aclose()
    first, last = (int(end[0][0].split(b"-")[0]) / 1000 for end in ends)
    return _rate(events, last - first)


def _rate(events: list[bytes], seconds: float) -> int:
    return round(len(events) / seconds)


if __name__ == "__main__":
    main()
