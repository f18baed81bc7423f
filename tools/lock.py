"""Resolve pyproject.toml into requirements.lock, and what serving needs of it into requirements-serving.lock."""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVING = ("bentoml", "cryptography", "httptools", "msgspec", "numpy", "onnxruntime", "polars", "pyjwt", "uvloop")


def main() -> None:
    """Write both files from one resolution, made in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        report = Path(folder) / "report.json"
        pip = [f"{folder}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "install", "--quiet", "--dry-run", "--report", report, f"{ROOT}[dev]"], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    pins = {each["metadata"]["name"].lower(): _version(each) for each in found}
    pins.pop("merit-ml")
    header = f"# Resolved from pyproject.toml by 'make lock' with Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
    _write("requirements.lock", header, pins)
    _write("requirements-serving.lock", header, {name: pins[name] for name in SERVING})


def _version(each: dict[str, dict[str, str]]) -> str:
    # A build for one kind of machine, such as 2.13.0+cpu, is not to be had everywhere.
    return each["metadata"]["version"].partition("+")[0]


def _write(name: str, header: str, pins: dict[str, str]) -> None:
    lines = [f"{package}=={version}\n" for package, version in sorted(pins.items())]
    (ROOT / name).write_text(header + "".join(lines), encoding="utf-8")
    print(f"{name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
