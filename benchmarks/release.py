"""How long a merged version waits for its image: `merit release` from an existing tag to the image pushed by digest.

The package is the one in model/. A registry on loopback, buildah and podman from Debian, as in tests/e2e; the base
image is a Debian with Python. Three releases: the first builds every layer and installs the pinned packages from the
index; the second is of another version, whose packages are in the engine's layers; the third finds nothing to do.

Usage, as root in the root of the repository, after `merit run`: python benchmarks/release.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import containers as tools  # noqa: E402
from tests.support import released  # noqa: E402
from tests.support.small_project import Project  # noqa: E402

from merit import artifacts  # noqa: E402


def main() -> None:
    """Measure and print."""
    model = artifacts.read_json(ROOT / artifacts.PACKAGE / artifacts.MANIFEST, "run")["model"]
    load = os.getloadavg()[0]
    table = Table(box=None, pad_edge=False)
    for name in ("release", "seconds", "what it said"):
        table.add_column(name)
    with tempfile.TemporaryDirectory(prefix="merit-benchmark-") as room, tools.containers(Path(room)) as containers:
        project = released.make(Path(room) / "project", _package, base=tools.BASE, engine="buildah", model=model)
        table.add_row("first: no layer is there", *_released(project, containers, f"{model}@v1"))
        note = project.folder / "note"
        note.write_text("a second version\n", encoding="utf-8")
        released.tag(project, project.commit("another", "note"), 2, model)
        table.add_row("another version", *_released(project, containers, f"{model}@v2"))
        table.add_row("the same again", *_released(project, containers, f"{model}@v2"))
    Console(width=160).print(table)
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def _package(place: Path) -> None:
    shutil.copytree(ROOT / artifacts.PACKAGE, place)


def _released(project: Project, containers: tools.Containers, name: str) -> tuple[str, str]:
    """Release a version; return the seconds of the clock, and what was said of size and readiness."""
    environment = {**project.environment(), **containers.environment}
    command = ["merit", "release", name]
    began = time.monotonic()
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return f"{seconds:.1f}", "; ".join(" ".join(line.split()) for line in done.stdout.splitlines())


if __name__ == "__main__":
    main()
