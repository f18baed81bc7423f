"""Resolve pyproject.toml into requirements.lock, what serving needs of it, and what builds packages, into two more."""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVING = ("bentoml", "cryptography", "httptools", "msgspec", "numpy", "onnxruntime", "polars", "pyjwt", "uvloop")
BUILD = ("editables", "hatchling", "setuptools")
"""What builds merit, and the packages of requirements.lock that have no wheel; it is installed before them."""


def main() -> None:
    """Write the three files, each from a resolution in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        pins = resolve(pip, f"{ROOT}[dev]")
        pins.pop("merit-ml")
        write("requirements.lock", "pyproject.toml", pins)
        write("requirements-serving.lock", "pyproject.toml", {name: pins[name] for name in SERVING})
        builders = resolve(pip, *BUILD, "--constraint", f"{ROOT}/requirements.lock")
        write("requirements-build.lock", "the builders that tools/lock.py names", builders)


def resolve(pip: list[str], *requirements: str) -> dict[str, str]:
    """Return the version of each package that pip would install for some requirements."""
    with tempfile.NamedTemporaryFile() as report:
        command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report.name]
        subprocess.run([*command, *requirements], check=True)
        packages = json.loads(Path(report.name).read_text(encoding="utf-8"))["install"]
    return {package["metadata"]["name"].lower(): _version(package) for package in packages}


def _version(each: dict[str, dict[str, str]]) -> str:
    # A build for one kind of machine, such as 2.13.0+cpu, is not to be had everywhere.
    return each["metadata"]["version"].partition("+")[0]


def write(name: str, source: str, pins: dict[str, str]) -> None:
    """Write a lock of packages whose first line says what it was resolved from."""
    header = f"# Resolved from {source} by 'make lock' with Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
    lines = [f"{package}=={version}\n" for package, version in sorted(pins.items())]
    (ROOT / name).write_text(header + "".join(lines), encoding="utf-8")
    print(f"{name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
