"""Compares the content of outputs that differ: weights tensor by tensor, metrics, and packages without their origin."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from merit import artifacts, dvc, git
from merit.dvc import cache
from merit.errors import MeritError

TOLERANCE_SHARE = 0.25
"""The most by which a test metric may differ on another kind of processor, as a share of its interval's width.

With 95 % intervals this is about one standard error, a difference that the test rows can't distinguish from none.
"""
MAX_ANCESTORS = 1000
MAX_DISPLAYED = 12


def is_same_package(folder: Path, md5: str, commit: str) -> bool:
    """Return whether a package equals the one of a DVC hash, apart from the commit in its manifest.

    Older versions of merit wrote the current commit and dirty flag into the manifest. That commit is an ancestor of
    the one whose dvc.lock names the package, so all ancestors are tried.

    Args:
        folder: the reproduced package.
        md5: the DVC hash of the locked package.
        commit: the commit of the dvc.lock.
    """
    if not (folder / artifacts.MANIFEST).is_file():
        return False
    current_manifest, files = artifacts.read_json(folder / artifacts.MANIFEST, "package"), cache.hash_files(folder)
    ancestors = (git.run_git("rev-list", f"--max-count={MAX_ANCESTORS}", commit) or "").split()
    former_manifests = (
        _render_old_manifest(current_manifest, each, dirty)
        for each in [*ancestors, *_read_origin(commit)]
        for dirty in (False, True)
    )
    return any(cache.hash_listing(files | {artifacts.MANIFEST: _hash_text(each)}) == md5 for each in former_manifests)


def _hash_text(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _render_old_manifest(content: dict[str, Any], commit: str, dirty: bool) -> str:
    """Return the manifest's text as an older merit would have written it at a commit."""
    rest = {key: value for key, value in content.items() if key not in {"model", "commit", "dirty"}}
    return artifacts.render_json({"model": content.get("model"), "commit": commit, "dirty": dirty, **rest})


def _read_origin(commit: str) -> list[str]:
    """Return the commit in the locked package's manifest: after a squash merge it is not an ancestor."""
    origin_commit = load_manifest(commit).get("commit")
    return [origin_commit] if isinstance(origin_commit, str) else []


def load_manifest(commit: str) -> dict[str, Any]:
    """Return the manifest of the package in a commit's dvc.lock; empty if neither cache nor remote has it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / artifacts.MANIFEST
        try:
            dvc.copy_output(commit, artifacts.PACKAGE / artifacts.MANIFEST, path)
            content = artifacts.read_json(path, "package")
        except MeritError:
            return {}
    return content


def describe_differences(path: str, root: Path, commit: str) -> list[str]:
    """Return lines on the differences inside an output; a single line with the reason if it can't be compared.

    Args:
        path: the output's path in the project.
        root: the project folder in the worktree, with the reproduced output.
        commit: the commit whose dvc.lock names the original output.
    """
    if Path(path).suffix not in {".safetensors", ".json"}:
        return []
    if not (root / path).exists():
        return ["it was not produced"]
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / Path(path).name
        try:
            dvc.copy_output(commit, Path(path), old)
            compare_files = _compare_tensors if old.suffix == ".safetensors" else _compare_metrics
            return list(compare_files(old, root / path))
        except (MeritError, ValueError) as error:
            return [f"what dvc.lock names can't be compared: {' '.join(str(error).split())[:160]}"]


def _compare_tensors(old: Path, new: Path) -> Iterator[str]:
    """Yield a line on each tensor's largest absolute difference, in descending order; loads one tensor at a time."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(old, "numpy") as before, safe_open(new, "numpy") as after:
            names = set(before.keys()) & set(after.keys())
            if unpaired := set(before.keys()) ^ set(after.keys()):
                yield f"tensors that only one of the two has: {', '.join(sorted(unpaired)[:MAX_DISPLAYED])}"
            largest: dict[str, float] = {}
            for name in sorted(names):
                old_tensor, new_tensor = before.get_tensor(name), after.get_tensor(name)
                if old_tensor.shape != new_tensor.shape:
                    yield f"{name}: its shape was {list(old_tensor.shape)}, is {list(new_tensor.shape)}"
                elif old_tensor.size:
                    largest[name] = float(np.abs(old_tensor.astype(np.float64) - new_tensor.astype(np.float64)).max())
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    ranked = sorted((item for item in largest.items() if item[1] != 0), key=lambda item: -item[1])
    for name, difference in ranked[:MAX_DISPLAYED]:
        yield f"{name}: differs by up to {difference:.2e}"
    if len(ranked) > MAX_DISPLAYED:
        yield f"and {len(ranked) - MAX_DISPLAYED} more tensors by less; {len(largest) - len(ranked)} are the same"


def _compare_metrics(old: Path, new: Path) -> Iterator[str]:
    """Yield a line on each of the candidate's metrics that differs; nothing for JSON of another structure."""
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (old, new))
    if isinstance(before, dict) and isinstance(before.get("candidate"), dict):
        for name, old_metric in before["candidate"].items():
            new_metric = after.get("candidate", {}).get(name, {})
            if old_metric.get("value") != new_metric.get("value"):
                yield f"{name}: {_format_change(old_metric.get('value'), new_metric.get('value'))}"


def _format_change(old: Any, new: Any) -> str:
    if isinstance(old, float) and isinstance(new, float):
        return f"was {old:.6f}, is {new:.6f} ({new - old:+.1e})"
    return f"was {old}, is {new}"


def is_within_tolerance(root: Path, commit: str) -> bool | None:
    """Return whether every test metric is within TOLERANCE_SHARE of the locked one; None if they can't be compared."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / artifacts.METRICS.name
        try:
            dvc.copy_output(commit, artifacts.METRICS, path)
            before = artifacts.read_json(path, "evaluate")["candidate"]
            after = artifacts.read_json(root / artifacts.METRICS, "evaluate")["candidate"]
            return all(
                _is_metric_within_tolerance(one, after[name])
                for name, one in before.items()
                if one["value"] is not None
            )
        except (MeritError, KeyError, TypeError, AttributeError):
            return None


def _is_metric_within_tolerance(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return bool(abs(new["value"] - old["value"]) <= TOLERANCE_SHARE * (old["high"] - old["low"]))
