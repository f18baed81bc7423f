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

SHOWN = 8
PACKAGE = "package "
LOCKED = run_facts.ENVIRONMENT
WORDS = {"python": "Python", "processor": "processor", "instructions": "processor's instructions"}


def packages(commit: str) -> list[str]:
    """Return the installed packages that differ from a commit's requirements.lock; empty if it has none."""
    return machine.others(machine.pinned(git.show(commit, LOCKED) or ""))


def recorded(commit: str, weights: str | None, params: dict[str, Any]) -> dict[str, str]:
    """Return the recorded facts about the training of a commit's package, from its manifest and its tracked run.

    Args:
        commit: the commit whose dvc.lock names the package.
        weights: the SHA-256 of its weights, by which the run is found; None if the weights are not available.
        params: the content of its params.yaml.
    """
    manifest = output_diff.manifest(commit)
    libraries = manifest.get("libraries", {})
    told = {name if name == "python" else f"{PACKAGE}{name}": str(version) for name, version in libraries.items()}
    told |= {key: str(manifest[key]).lower() for key in ("commit", "dirty") if key in manifest}
    if "commit" not in told and (first := _locked_first(commit)) is not None:
        told["commit"] = first
    try:
        run = {} if weights is None else tracking.told_of(Tracking.model_validate(params.get("tracking")), weights)
    except (MeritError, ValidationError):
        run = {}
    return told | {key: run[key] for key in (*WORDS, "commit", "dirty") if key in run}


def _locked_first(commit: str) -> str | None:
    """Return the first commit whose dvc.lock named the package of this commit; None if there is no package."""
    md5 = (dvc.at(commit) or {}).get(artifacts.PACKAGE.as_posix())
    named = None if md5 is None else git.git("log", "--format=%H", f"-S{md5}", commit, "--", str(artifacts.DVC_LOCK))
    return named.splitlines()[-1] if named else None


def causes(commit: str, then: dict[str, str]) -> list[str]:
    """Return lines on differences between the recorded training and this machine, and on facts not recorded."""
    now = run_facts.machine()
    known = {key: word for key, word in WORDS.items() if key in then}
    lines = [f"{word} was {then[key]}, is {now[key]}" for key, word in known.items() if not _is(now, then, key)]
    others = dict.fromkeys([*_libraries(then), *packages(commit)])
    lines += [f"package {each}" for each in list(others)[:SHOWN]]
    lines += _code(commit, then)
    if lacking := [word for key, word in WORDS.items() if key not in then]:
        here = ", ".join(f"{word} {now[key]}" for key, word in WORDS.items() if key not in then)
        lines.append(f"not recorded of the training: {', '.join(lacking)} (here: {here})")
    same = [f"{word} {now[key]}" for key, word in known.items() if _is(now, then, key)]
    return [*lines, *([f"the same: {', '.join(same)}"] if same else [])]


def _is(now: dict[str, str], then: dict[str, str], key: str) -> bool:
    """Return whether a fact is unchanged; for Python a recorded minor version such as 3.11 matches all its patches."""
    return now[key] == then[key] or (key == "python" and now[key].startswith(f"{then[key]}."))


def _libraries(then: dict[str, str]) -> list[str]:
    """Return a line per library whose installed version differs from the one recorded in the package."""
    named = {key.removeprefix(PACKAGE): version for key, version in then.items() if key.startswith(PACKAGE)}
    return [
        f"{name} {machine.installed(name) or 'none'}, not {version}"
        for name, version in named.items()
        if machine.installed(name) != version
    ]


def is_other_processor(then: dict[str, str]) -> bool | None:
    """Return whether the training ran on another kind of processor than this one; None if that was not recorded."""
    now = run_facts.machine()
    known = [key for key in ("processor", "instructions") if key in then]
    return any(then[key] != now[key] for key in known) if known else None


def _code(commit: str, then: dict[str, str]) -> list[str]:
    """Return lines on code that no stage declares: uncommitted changes, or files that changed since the training."""
    lines = []
    if then.get("dirty") == "true":
        lines.append("it was made with changes that were not committed")
    made_at = then.get("commit", "")
    if made_at and git.resolve(made_at) and made_at != commit:
        changed = (git.git("diff", "--name-only", made_at, commit, "--", "*.py") or "").splitlines()
        if changed:
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            lines.append(f"code that changed since it was made at {made_at[:7]}: {', '.join(changed[:SHOWN])}{more}")
    return lines


def weights_of(commit: str, room: Path) -> str | None:
    """Return the SHA-256 of the weights in a commit's dvc.lock; None if neither cache nor remote has them."""
    place = room / artifacts.WEIGHTS.name
    try:
        dvc.fetch(commit, artifacts.WEIGHTS, place)
    except MeritError:
        return None
    return artifacts.sha256(place)


def params_of(commit: str) -> dict[str, Any]:
    """Return the content of a commit's params.yaml; empty if there is none.

    Raises:
        MeritError: it is not valid YAML.
    """
    try:
        found = safe_yaml.load(git.show(commit, artifacts.LOCK) or "")
    except yaml.YAMLError as error:
        raise MeritError(f"{artifacts.LOCK} at {commit[:7]}: not valid YAML: {' '.join(str(error).split())}") from error
    return found if isinstance(found, dict) else {}
