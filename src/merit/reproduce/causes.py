"""Finds possible causes of different outputs from the same inputs: undeclared code, packages, Python, the processor."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merit import artifacts, dvc, git, safe_yaml, tracking
from merit.config.schema import Tracking
from merit.doctor import machine
from merit.errors import MeritError
from merit.reproduce import output_diff
from merit.tracking import run_facts

MAX_DISPLAYED = 8
PACKAGE_PREFIX = "package "
REQUIREMENTS_FILE = run_facts.REQUIREMENTS_LOCK
FACT_LABELS = {"python": "Python", "processor": "processor", "instructions": "processor's instructions"}


def find_other_packages(commit: str) -> list[str]:
    """Return the installed packages that differ from a commit's requirements.lock; empty if it has none."""
    return machine.find_mismatches(machine.parse_pins(git.read_file(commit, REQUIREMENTS_FILE) or ""))


def load_recorded_facts(commit: str, weights: str | None, params: dict[str, Any]) -> dict[str, str]:
    """Return the recorded facts about the training of a commit's package, from its manifest and its tracked run.

    Args:
        commit: the commit whose dvc.lock names the package.
        weights: the SHA-256 of its weights, by which the run is found; None if the weights are not available.
        params: the content of its params.yaml.
    """
    manifest = output_diff.load_manifest(commit)
    libraries = manifest.get("libraries", {})
    recorded_facts = {
        name if name == "python" else f"{PACKAGE_PREFIX}{name}": str(version) for name, version in libraries.items()
    }
    recorded_facts |= {key: str(manifest[key]).lower() for key in ("commit", "dirty") if key in manifest}
    if "commit" not in recorded_facts and (first_commit := _find_first_commit(commit)) is not None:
        recorded_facts["commit"] = first_commit
    try:
        run = (
            {} if weights is None else tracking.read_run_tags(Tracking.model_validate(params.get("tracking")), weights)
        )
    except (MeritError, ValidationError):
        run = {}
    return recorded_facts | {key: run[key] for key in (*FACT_LABELS, "commit", "dirty") if key in run}


def _find_first_commit(commit: str) -> str | None:
    """Return the first commit whose dvc.lock named the package of this commit; None if there is no package."""
    md5 = (dvc.read_outputs_at(commit) or {}).get(artifacts.PACKAGE.as_posix())
    commits = (
        None if md5 is None else git.run_git("log", "--format=%H", f"-S{md5}", commit, "--", str(artifacts.DVC_LOCK))
    )
    return commits.splitlines()[-1] if commits else None


def find_causes(commit: str, recorded_facts: dict[str, str]) -> list[str]:
    """Return lines on differences between the recorded training and this machine, and on facts not recorded."""
    current_facts = run_facts.describe_machine()
    known_facts = {key: word for key, word in FACT_LABELS.items() if key in recorded_facts}
    lines = [
        f"{word} was {recorded_facts[key]}, is {current_facts[key]}"
        for key, word in known_facts.items()
        if not _is_unchanged(current_facts, recorded_facts, key)
    ]
    other_packages = dict.fromkeys([*_list_other_libraries(recorded_facts), *find_other_packages(commit)])
    lines += [f"package {each}" for each in list(other_packages)[:MAX_DISPLAYED]]
    lines += _list_code_changes(commit, recorded_facts)
    if missing := [word for key, word in FACT_LABELS.items() if key not in recorded_facts]:
        current = ", ".join(
            f"{word} {current_facts[key]}" for key, word in FACT_LABELS.items() if key not in recorded_facts
        )
        lines.append(f"not recorded of the training: {', '.join(missing)} (here: {current})")
    unchanged = [
        f"{word} {current_facts[key]}"
        for key, word in known_facts.items()
        if _is_unchanged(current_facts, recorded_facts, key)
    ]
    return [*lines, *([f"the same: {', '.join(unchanged)}"] if unchanged else [])]


def _is_unchanged(current_facts: dict[str, str], recorded_facts: dict[str, str], key: str) -> bool:
    """Return whether a fact is unchanged; for Python a recorded minor version such as 3.11 matches all its patches."""
    return current_facts[key] == recorded_facts[key] or (
        key == "python" and current_facts[key].startswith(f"{recorded_facts[key]}.")
    )


def _list_other_libraries(recorded_facts: dict[str, str]) -> list[str]:
    """Return a line per library whose installed version differs from the one recorded in the package."""
    recorded_libraries = {
        key.removeprefix(PACKAGE_PREFIX): version
        for key, version in recorded_facts.items()
        if key.startswith(PACKAGE_PREFIX)
    }
    return [
        f"{name} {machine.get_installed_version(name) or 'none'}, not {version}"
        for name, version in recorded_libraries.items()
        if machine.get_installed_version(name) != version
    ]


def is_other_processor(recorded_facts: dict[str, str]) -> bool | None:
    """Return whether the training ran on another kind of processor than this one; None if that was not recorded."""
    current_facts = run_facts.describe_machine()
    known_keys = [key for key in ("processor", "instructions") if key in recorded_facts]
    return any(recorded_facts[key] != current_facts[key] for key in known_keys) if known_keys else None


def _list_code_changes(commit: str, recorded_facts: dict[str, str]) -> list[str]:
    """Return lines on code that no stage declares: uncommitted changes, or files that changed since the training."""
    lines = []
    if recorded_facts.get("dirty") == "true":
        lines.append("it was made with changes that were not committed")
    trained_at = recorded_facts.get("commit", "")
    if trained_at and git.resolve_commit(trained_at) and trained_at != commit:
        changed = (git.run_git("diff", "--name-only", trained_at, commit, "--", "*.py") or "").splitlines()
        if changed:
            more = f" and {len(changed) - MAX_DISPLAYED} more" if len(changed) > MAX_DISPLAYED else ""
            lines.append(
                f"code that changed since it was made at {trained_at[:7]}: {', '.join(changed[:MAX_DISPLAYED])}{more}"
            )
    return lines


def hash_weights(commit: str, folder: Path) -> str | None:
    """Return the SHA-256 of the weights in a commit's dvc.lock; None if neither cache nor remote has them."""
    path = folder / artifacts.WEIGHTS.name
    try:
        dvc.copy_output(commit, artifacts.WEIGHTS, path)
    except MeritError:
        return None
    return artifacts.hash_file(path)


def load_params(commit: str) -> dict[str, Any]:
    """Return the content of a commit's params.yaml; empty if there is none.

    Raises:
        MeritError: it is not valid YAML.
    """
    try:
        params = safe_yaml.load(git.read_file(commit, artifacts.LOCK) or "")
    except yaml.YAMLError as error:
        raise MeritError(f"{artifacts.LOCK} at {commit[:7]}: not valid YAML: {' '.join(str(error).split())}") from error
    return params if isinstance(params, dict) else {}
