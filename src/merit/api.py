"""Provides the functions of `import merit`: compose, run and load. `merit.gate` is in `merit.gate.result`.

They work on the project in the current folder, as the commands do. merit/__init__.py loads this module on first use.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.config.schema.release import Signing
from merit.errors import GATE_MODULES, MeritError, require_modules
from merit.gate.result import Report, build_report
from merit.gate.verdict import Verdict
from merit.serving.model import Model
from merit.signing import verification

VERSION_NAME = re.compile(r"(?:[^@/]+@)?v\d+")


@dataclass(frozen=True)
class Outcome:
    """The result of `merit.run`.

    Attributes:
        report: the gate's report.
        lock: the configuration that ran, as params.yaml has it.
        version: the candidate's number in MLflow; None if the gate did not pass, or MLflow doesn't keep the runs.
    """

    report: Report
    lock: Lock
    version: str | None

    @property
    def verdict(self) -> Verdict:
        """The verdict of the gate: pass, fail or inconclusive."""
        return self.report.verdict


def compose(overrides: Sequence[str] = ()) -> Lock:
    """Return the configuration that conf/ and Hydra overrides make; unlike `merit compose`, write nothing.

    Args:
        overrides: such as `["model=linear", "optimizer.lr=0.01"]`.

    Raises:
        ConfigError: conf/ or an override is invalid; the text names file, line and key.

    Example:
        merit.compose(["model=linear"]).model
    """
    from merit.config.compose import compose as compose_lock

    return compose_lock(_check_overrides("compose", overrides))


def run(overrides: Sequence[str] = ()) -> Outcome:
    """Run the complete path as `merit run` does: compose, the stages that are out of date, gate, register.

    A candidate that does not pass is a result here, not an exception.

    Args:
        overrides: such as `["model=linear"]`.

    Raises:
        ConfigError: conf/ or an override is invalid; nothing was done.
        Refused: a stage refused, such as data that violate their contract, so there is no verdict.
        MeritError: a stage failed, or the run can't be recorded; then reports/gate.json has the verdict.

    Example:
        outcome = merit.run(["model=linear"])
        outcome.verdict, outcome.report.metrics["roc_auc"]
    """
    from merit.pipeline.run import run_path

    require_modules("merit.run", *GATE_MODULES)  # before any training, though only the gate at the end needs them
    result = run_path(_check_overrides("run", overrides))
    if result.record_error is not None:
        raise result.record_error
    return Outcome(build_report(result.report), result.lock, result.version)


def load(name: str | Path) -> Model:
    """Load a model package, once its files and its signature are verified.

    Args:
        name: a folder with a package, such as `model`, or a registered version, such as `flights@v3` or `v3`, which is
            taken from DVC's cache or its remote.

    Raises:
        MeritError: there is no such folder or version, its files are not those that its manifest or tag names, or its
            signature is invalid.

    Example:
        merit.load("model").predict({"shop": "north", "size": 48.5})
    """
    if isinstance(name, str) and VERSION_NAME.fullmatch(name):
        return _load_version(name)
    return _load_folder(Path(name))


def _load_folder(folder: Path) -> Model:
    from merit.registry import tags
    from merit.scoring.package import Package
    from merit.serving.server.serve import check_signature

    if not folder.is_dir():
        raise MeritError(f"load: '{folder}' is neither a folder with a package nor a version such as flights@v3")
    check_signature(folder, locks.read_lock().release.signing if artifacts.LOCK.is_file() else Signing())
    package = Package.load(folder)
    version = tags.find_package_version(folder)
    return Model(package, None if version is None else version.short_name)


def _load_version(name: str) -> Model:
    from merit.deploy.package_cache import fetch_package
    from merit.registry import tags
    from merit.scoring.package import Package

    lock = locks.read_lock()
    version = tags.find_version(tags.require_own_name(lock.name, name))
    is_required = os.environ.get(verification.REQUIRE_SIGNATURE_VARIABLE) == "1"
    return Model(Package.load(fetch_package(version, lock, require_signature=is_required)), version.short_name)


def _check_overrides(function: str, overrides: Sequence[str]) -> Sequence[str]:
    """Return the overrides; a single text, which is a sequence of its characters, is refused."""
    if isinstance(overrides, str):
        raise MeritError(f"{function}: found the text {overrides!r}; give a list, such as [{overrides!r}]")
    return overrides
