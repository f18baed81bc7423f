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

TOLERANCE = 0.25
"""The most by which a test metric may differ on another kind of processor, as a share of its interval's width.

With 95 % intervals this is about one standard error, a difference that the test rows can't distinguish from none.
"""
ANCESTORS = 1000
SHOWN = 12


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
    values, files = artifacts.read_json(folder / artifacts.MANIFEST, "package"), cache.file_hashes(folder)
    past = (git.git("rev-list", f"--max-count={ANCESTORS}", commit) or "").split()
    former = (_made_at(values, each, dirty) for each in [*past, *_origin(commit)] for dirty in (False, True))
    return any(cache.listing_hash(files | {artifacts.MANIFEST: _md5(each)}) == md5 for each in former)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _made_at(values: dict[str, Any], commit: str, dirty: bool) -> str:
    """Return the manifest's text as an older merit would have written it at a commit."""
    rest = {key: value for key, value in values.items() if key not in {"model", "commit", "dirty"}}
    return artifacts.json_text({"model": values.get("model"), "commit": commit, "dirty": dirty, **rest})


def _origin(commit: str) -> list[str]:
    """Return the commit in the locked package's manifest: after a squash merge it is not an ancestor."""
    found = manifest(commit).get("commit")
    return [found] if isinstance(found, str) else []


def manifest(commit: str) -> dict[str, Any]:
    """Return the manifest of the package in a commit's dvc.lock; empty if neither cache nor remote has it."""
    with tempfile.TemporaryDirectory() as room:
        place = Path(room) / artifacts.MANIFEST
        try:
            dvc.fetch(commit, artifacts.PACKAGE / artifacts.MANIFEST, place)
            found = artifacts.read_json(place, "package")
        except MeritError:
            return {}
    return found


def differences(path: str, root: Path, commit: str) -> list[str]:
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
    with tempfile.TemporaryDirectory() as room:
        old = Path(room) / Path(path).name
        try:
            dvc.fetch(commit, Path(path), old)
            how = _tensors if old.suffix == ".safetensors" else _leaves
            return list(how(old, root / path))
        except (MeritError, ValueError) as error:
            return [f"what dvc.lock names can't be compared: {' '.join(str(error).split())[:160]}"]


def _tensors(old: Path, new: Path) -> Iterator[str]:
    """Yield a line on each tensor's largest absolute difference, in descending order; loads one tensor at a time."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(old, "numpy") as before, safe_open(new, "numpy") as after:
            names = set(before.keys()) & set(after.keys())
            if odd := set(before.keys()) ^ set(after.keys()):
                yield f"tensors that only one of the two has: {', '.join(sorted(odd)[:SHOWN])}"
            found: dict[str, float] = {}
            for name in sorted(names):
                one, two = before.get_tensor(name), after.get_tensor(name)
                if one.shape != two.shape:
                    yield f"{name}: its shape was {list(one.shape)}, is {list(two.shape)}"
                elif one.size:
                    found[name] = float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max())
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    ranked = sorted((item for item in found.items() if item[1] != 0), key=lambda item: -item[1])
    for name, difference in ranked[:SHOWN]:
        yield f"{name}: differs by up to {difference:.2e}"
    if len(ranked) > SHOWN:
        yield f"and {len(ranked) - SHOWN} more tensors by less; {len(found) - len(ranked)} are the same"


def _leaves(old: Path, new: Path) -> Iterator[str]:
    """Yield a line on each of the candidate's metrics that differs; nothing for JSON of another structure."""
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (old, new))
    if isinstance(before, dict) and isinstance(before.get("candidate"), dict):
        for name, one in before["candidate"].items():
            two = after.get("candidate", {}).get(name, {})
            if one.get("value") != two.get("value"):
                yield f"{name}: {_moved(one.get('value'), two.get('value'))}"


def _moved(one: Any, two: Any) -> str:
    if isinstance(one, float) and isinstance(two, float):
        return f"was {one:.6f}, is {two:.6f} ({two - one:+.1e})"
    return f"was {one}, is {two}"


def within_tolerance(root: Path, commit: str) -> bool | None:
    """Return whether every test metric is within TOLERANCE of the locked one; None if they can't be compared."""
    with tempfile.TemporaryDirectory() as room:
        place = Path(room) / artifacts.METRICS.name
        try:
            dvc.fetch(commit, artifacts.METRICS, place)
            before = artifacts.read_json(place, "evaluate")["candidate"]
            after = artifacts.read_json(root / artifacts.METRICS, "evaluate")["candidate"]
            return all(_is_near(one, after[name]) for name, one in before.items() if one["value"] is not None)
        except (MeritError, KeyError, TypeError, AttributeError):
            return None


def _is_near(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return bool(abs(two["value"] - one["value"]) <= TOLERANCE * (one["high"] - one["low"]))
