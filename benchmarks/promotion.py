"""Promotions and rollbacks on the target local under 64 connections: failed requests, and time to the new version.

A repository is made with tiny packages as versions. 10 promotions and 10 rollbacks by `git revert` follow one another
while 64 connections ask for predictions. Then `merit plan` is timed where nothing differs, with MLflow on SQLite.

Usage, in the root of the repository: python benchmarks/promotion.py
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import environments
from tests.support.environments import EXAMPLE, World
from tests.support.load import Load

ROUNDS = 10
PLANS = 5
LIMIT = 2.0
"""Seconds that a plan without a difference may take."""
FILL = """
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///mlflow.db")
client.create_registered_model("tiny")
run = client.create_run("0")
for number in (1, 2):
    tags = {"merit.version": f"tiny@v{number}"}
    client.create_model_version("tiny", run.info.artifact_uri + "/model", run.info.run_id, tags=tags)
"""


def main() -> None:
    """Measure and print; exit with 1 if a request failed or a plan took too long."""
    with tempfile.TemporaryDirectory(prefix="merit-promotion-") as folder:
        world = environments.make(Path(folder) / "repository", 2)
        try:
            failed = changes(world)
            slow = plans(world)
        finally:
            world.down()
    sys.exit(failed or slow)


def changes(world: World) -> bool:
    """Change versions under load; say whether a request failed."""
    world.promote("v1", "staging")
    _apply(world)
    seconds, whole = [], []
    with Load(world.ports["staging"], EXAMPLE) as load:
        time.sleep(2)
        for _ in range(ROUNDS):
            world.promote("v2", "staging")
            for version in ("v2", "v1"):
                began = time.monotonic()
                _apply(world)
                whole.append(time.monotonic() - began)
                time.sleep(0.5)
                seconds.append(load.first(version, began))
                if version == "v2":
                    world.git("revert", "--no-edit", "HEAD")
    print(f"changes of version: {len(seconds)}, of which {ROUNDS} by git revert")
    print(f"requests: {len(load.answers):,} over 64 connections, failed: {len(load.failures)} {load.failures[:3]}")
    print(f"apply's start to the new version's first answer: median {statistics.median(seconds):.1f} s, "
          f"{min(seconds):.1f} to {max(seconds):.1f} s")  # fmt: skip
    print(f"apply, whole: median {statistics.median(whole):.1f} s")
    return bool(load.failures)


def plans(world: World) -> bool:
    """Time plans without a difference; say whether the median is over the limit."""
    done = world.run("python", "-c", FILL, MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stderr
    _apply(world)
    times = {}
    for kind in ("asked", "not asked again"):
        times[kind] = []
        for _ in range(PLANS):
            receipt = world.folder / ".merit/environments/staging.alias.json"
            if kind == "asked":
                receipt.unlink(missing_ok=True)
            began = time.monotonic()
            assert world.merit("plan", "staging").returncode == 0
            times[kind].append(time.monotonic() - began)
        print(f"merit plan without a difference, MLflow {kind}: median {statistics.median(times[kind]):.2f} s")
    return statistics.median(times["not asked again"]) > LIMIT


def _apply(world: World) -> None:
    done = world.merit("apply", "staging")
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    main()
