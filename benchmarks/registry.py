"""How long `merit registry rebuild` takes to fill an empty MLflow with 50 versions, and `check` to find no difference.

Run from the repository's root: `python benchmarks/registry.py`. Tiny packages, SQLite, all in a temporary folder.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.versioned import Repository, report

from merit.config import lock as locks
from merit.registry.rebuild import find_differences, rebuild_projection
from merit.registry.register import register

VERSIONS = 50


def main() -> None:
    """Measure, and print JSON: seconds."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    values["tracking"] = {"uri": "sqlite:///mlflow.db", "experiment": "benchmark"}
    values["data"]["source"] = {"_target_": "merit.data.sources.Parquet", "path": "rows.parquet"}
    values["code"] = {}
    lock = locks.Lock.model_validate(values)
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository.made(Path(folder) / "repository", locks.render_lock(lock))
        os.chdir(repository.folder)
        Path("rows.parquet").touch()  # a version's input must be in its commit
        for number in range(1, VERSIONS + 1):
            repository.package(number, model=lock.name)
            repository.commit(f"package {number}")
            register(lock, lambda against: report())
        repository.declare("production", f"v{VERSIONS}", "production")
        found = {"versions": VERSIONS}
        for name, step in {
            "rebuild": rebuild_projection,
            "rebuild again": rebuild_projection,
            "check": find_differences,
        }.items():
            began = time.perf_counter()
            done = list(step(lock))
            found[name] = {"seconds": round(time.perf_counter() - began, 2), "changes": len(done)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
