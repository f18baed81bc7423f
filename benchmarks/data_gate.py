"""What the data gate costs: seconds and memory of `merit gate data` against a champion with other data.

The champion's data is the reference data, or as many rows made of it: repeated, each copy with other flight numbers and
slightly other numbers. The candidate's lacks a hundredth of the rows, and one row in a hundred has another temperature.
Both are Parquet files of a project of its own in a temporary folder; the champion's is in its DVC cache.

Usage, in the root of the repository: python benchmarks/data_gate.py [ROWS] [--rounds N]
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml

from merit import artifacts

GOAL_SECONDS = 10.0
"""At the size of the reference data, on 2 cores."""
COPIED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="?", type=int, help="rows of the champion's data [default: the reference data's]")
    parser.add_argument("--rounds", type=int, default=3, help="how often it is measured")
    arguments = parser.parse_args()
    artifacts.require_path(artifacts.RAW, "run")
    rows = arguments.rows or int(pl.scan_parquet(artifacts.RAW).select(pl.len()).collect().item())
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        make(project, rows)
        load = os.getloadavg()[0]
        seconds = [measure(project) for _ in range(arguments.rounds)]
    told = ", ".join(f"{each:.1f}" for each in seconds)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"merit gate data on {rows:,} rows: {min(seconds):.1f} s at best ({told})")
    cpu, memory = (used.ru_utime + used.ru_stime) / arguments.rounds, used.ru_maxrss / 1024
    print(f"processor time of a run: {cpu:.1f} s; memory: {memory:,.0f} MB at most")
    if arguments.rows is None:
        print(f"goal: {GOAL_SECONDS:g} s: {'met' if min(seconds) <= GOAL_SECONDS else 'missed'}")
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def make(project: Path, rows: int) -> None:
    """Make a project whose main has a champion, and whose data has changed since."""
    for name in COPIED:
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(name, project / name)
    raw = project / artifacts.RAW
    raw.parent.mkdir()
    _repeated(rows).sink_parquet(raw)
    outputs = [{"path": artifacts.RAW.as_posix(), "hash": "md5", "md5": _cached(project, raw)},
               {"path": artifacts.PACKAGE.as_posix(), "hash": "md5", "md5": "0" * 32 + ".dir"}]  # fmt: skip
    stages = {"ingest": {"cmd": "merit ingest", "outs": outputs[:1]},
              "package": {"cmd": "merit package", "outs": outputs[1:]}}  # fmt: skip
    (project / artifacts.DVC_LOCK).write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}), encoding="utf-8")
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    for command in (["init", "--quiet", "-b", "main"], ["add", "."], ["commit", "--quiet", "-m", "champion"]):
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    _change(project, raw)


def _repeated(rows: int) -> pl.LazyFrame:
    """Return so many rows: of each copy after the first all numbers are a little greater."""
    source = pl.scan_parquet(artifacts.RAW)
    height = int(source.select(pl.len()).collect().item())
    numbers = [name for name, kind in source.collect_schema().items() if kind.is_float() and name != "late"]
    copies = [
        source.with_columns(pl.col("flight") + 10_000 * turn, pl.col(numbers) + turn * 1e-6)
        for turn in range(-(-rows // height))
    ]
    return pl.concat(copies).head(rows)


def _cached(project: Path, file: Path) -> str:
    """Put a file into DVC's cache; return its hash."""
    with file.open("rb") as handle:
        found = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    place = project / ".dvc/cache/files/md5" / found[:2] / found[2:]
    place.parent.mkdir(parents=True)
    shutil.copyfile(file, place)
    return found


def _change(project: Path, raw: Path) -> None:
    """Give the candidate other data than the champion's."""
    number = pl.int_range(pl.len())
    aside = raw.with_suffix(".aside")
    hotter = pl.when(number % 100 == 1).then(pl.col("temp") + 1).otherwise("temp")
    pl.scan_parquet(raw).with_columns(hotter).filter(number % 100 != 0).sink_parquet(aside)
    aside.replace(raw)
    height = int(pl.scan_parquet(raw).select(pl.len()).collect().item())
    report = project / artifacts.DATA_REPORT
    report.parent.mkdir()
    report.write_text(json.dumps({"passed": True, "rows": height, "violations": []}), encoding="utf-8")


def measure(project: Path) -> float:
    """Return the seconds of one `merit gate data`.

    Raises:
        SystemExit: it didn't pass.
    """
    began = time.perf_counter()
    command = [Path(sys.executable).with_name("merit"), "gate", "data"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"merit gate data: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


if __name__ == "__main__":
    main()
