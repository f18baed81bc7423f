"""Resolve pyproject.toml into the requirements*.lock: what runs here, and what checks, tests, serving and builds need.

One resolution of everything says the versions; each lock names its part of them, so no two locks disagree.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "pyproject.toml"
RUNS = ("serve", "local", "gate", "release", "s3")
"""The extras of requirements.lock: what `make demo`, the endpoint and the workflows need, wherever the data lie."""
REFERENCE = "reference"
"""The group of what the reference model alone needs; what a project of `merit new` is given lacks it."""
SERVING = ("bentoml", "cryptography", "httptools", "msgspec", "numpy", "onnxruntime", "polars", "pyjwt", "uvloop")
BUILD = ("editables", "hatchling", "pip", "setuptools")
"""What builds merit and the packages of requirements.lock that have no wheel, and a pip that installs them in half the
time of the one that Python brings; it is installed before them."""
Pins = dict[str, str]


def main() -> None:
    """Write the five files, each from a resolution in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        everything = resolve(pip, project(extras()), *groups("dev", REFERENCE))
        known = Path(folder, "everything.lock")
        known.write_text("".join(lines(everything)), encoding="utf-8")
        held = ("--constraint", str(known))
        runs = resolve(pip, project(RUNS), *groups(REFERENCE), *held)
        checks = resolve(pip, project(RUNS), *groups(REFERENCE, "check"), *held)
        builders = resolve(pip, *BUILD, *held)
    write("requirements.lock", SOURCE, runs)
    write("requirements-check.lock", SOURCE, without(checks, runs))
    write("requirements-dev.lock", SOURCE, without(everything, runs))
    write("requirements-serving.lock", SOURCE, {name: everything[name] for name in SERVING})
    write("requirements-build.lock", "the builders that tools/lock.py names", builders)


def extras() -> list[str]:
    """Return the names of all extras."""
    return list(declared()["project"]["optional-dependencies"])


def declared() -> dict[str, Any]:
    """Return what pyproject.toml holds."""
    return tomllib.loads((ROOT / SOURCE).read_text(encoding="utf-8"))


def project(names: Iterable[str]) -> str:
    """Return this repository with some of its extras, as pip takes it."""
    return f"{ROOT}[{','.join(names)}]"


def groups(*names: str) -> list[str]:
    """Return pip's arguments for some of the dependency groups."""
    return [word for name in names for word in ("--group", f"{ROOT / SOURCE}:{name}")]


def resolve(pip: list[str], *requirements: str) -> Pins:
    """Return the version of each package that pip would install for some requirements, merit itself left out."""
    with tempfile.NamedTemporaryFile() as report:
        command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report.name]
        subprocess.run([*command, *requirements], check=True)
        packages = json.loads(Path(report.name).read_text(encoding="utf-8"))["install"]
    pins = {package["metadata"]["name"].lower(): _version(package) for package in packages}
    pins.pop("merit-ml", None)
    return pins


def _version(each: dict[str, dict[str, str]]) -> str:
    # A build for one kind of machine, such as 2.13.0+cpu, is not to be had everywhere.
    return each["metadata"]["version"].partition("+")[0]


def without(pins: Pins, others: Pins) -> Pins:
    """Return the pins that the others lack."""
    return {name: version for name, version in pins.items() if name not in others}


def lines(pins: Pins) -> list[str]:
    """Return a line for each package, in their order; the group `reference` is marked, so that others can drop it."""
    marked = {requirement.partition("==")[0] for requirement in declared()["dependency-groups"][REFERENCE]}
    marks = dict.fromkeys(marked, f"  # {REFERENCE}")
    return [f"{package}=={version}{marks.get(package, '')}\n" for package, version in sorted(pins.items())]


def write(name: str, source: str, pins: Pins) -> None:
    """Write a lock of packages whose first line says what it was resolved from."""
    header = f"# Resolved from {source} by 'make lock' with Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
    (ROOT / name).write_text(header + "".join(lines(pins)), encoding="utf-8")
    print(f"{name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
