"""Compares two dvc.lock files of one pipeline: inputs and outputs of each stage, and the first stage that differs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from merit.dvc import cache
from merit.errors import MeritError
from merit.tracking.run_facts import flatten

LockedStages = Mapping[str, Any]
"""The stages of a dvc.lock: each `{cmd, deps: [{path, md5}], params: {file: {key: value}}, outs: [{path, md5}]}`."""
MAX_VALUE_CHARACTERS = 60
MISSING = object()


@dataclass(frozen=True)
class StageDifference:
    """The differences of one stage between two locks.

    Attributes:
        name: the stage's name.
        changed_inputs: a line for each input that differs and is not the output of a stage: command, files, parameters.
        changed_upstream: the inputs that differ because they are outputs of stages that differ.
        changed_outputs: the paths of the outputs that differ.
    """

    name: str
    changed_inputs: list[str]
    changed_upstream: list[str]
    changed_outputs: list[str]

    @property
    def is_first_difference(self) -> bool:
        """Whether this stage's outputs differ while all outputs of earlier stages that it uses are the same."""
        return bool(self.changed_outputs) and not self.changed_upstream


def parse_stages(text: str, name: str) -> LockedStages:
    """Return the stages of a dvc.lock in topological order.

    Args:
        text: the content of the file.
        name: the file's name, used in messages.

    Raises:
        MeritError: the text is not a valid dvc.lock.
    """
    try:
        stages = _parse_yaml(text, name)["stages"]
        producers = {out["path"]: each for each, stage in stages.items() for out in stage.get("outs", [])}
        needs = {each: [dep["path"] for dep in stage.get("deps", [])] for each, stage in stages.items()}
        dependencies = {
            each: [producers[out] for out in producers for path in needs[each] if _overlaps(out, path)]
            for each in stages
        }
        return {each: stages[each] for each in TopologicalSorter(dependencies).static_order()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MeritError(f"{name}: not a lock of DVC's ({reason}); restore it from Git") from error


def compare_stages(old: LockedStages, new: LockedStages, is_same: Callable[[str, str], bool]) -> list[StageDifference]:
    """Return the differences of each stage of the old lock in the new one.

    Args:
        old: the stages of the committed lock.
        new: the stages of the reproduced lock.
        is_same: decides whether an output with a different hash still counts as the same; receives its path and its
            old hash.
    """
    outputs = {out["path"] for stage in old.values() for out in stage.get("outs", [])}
    differences: list[StageDifference] = []
    for name, stage in old.items():
        changed_paths = {path for each in differences for path in each.changed_outputs}
        new_stage = new.get(name, {})
        hashes = _get_hashes(new_stage, "deps")
        changed = [path for path, md5 in _get_hashes(stage, "deps").items() if hashes.get(path) != md5]
        changed_upstream = [path for path in changed if any(_overlaps(each, path) for each in changed_paths)]
        # An output whose hash differs but that `is_same` accepts doesn't count as a changed input downstream.
        own_changes = [
            path
            for path in changed
            if path not in changed_upstream and not any(_overlaps(each, path) for each in outputs)
        ]
        changed_inputs = [
            *_compare_commands(stage, new_stage),
            *(f"{path} differs" for path in own_changes),
            *_compare_params(stage, new_stage),
        ]
        differences.append(
            StageDifference(
                name, changed_inputs, changed_upstream, list(_find_changed_outputs(stage, new_stage, is_same))
            )
        )
    return differences


def find_changed_inputs(old: LockedStages, root: Path) -> dict[str, list[str]]:
    """Return lines on inputs in a worktree that differ from the lock, by stage, before anything is computed.

    Args:
        old: the stages of the committed lock.
        root: the project folder in the worktree.
    """
    outputs = {out["path"] for stage in old.values() for out in stage.get("outs", [])}
    differences: dict[str, list[str]] = {}
    for name, stage in old.items():
        files = {p: md5 for p, md5 in _get_hashes(stage, "deps").items() if not any(_overlaps(o, p) for o in outputs)}
        changed_files = [f"{path} differs" for path, md5 in files.items() if _hash_path(root / path) != md5]
        params = {file: _read_values(root / file, keys) for file, keys in stage.get("params", {}).items()}
        if lines := [*changed_files, *_compare_params(stage, {"params": params})]:
            differences[name] = lines
    return differences


def _find_changed_outputs(
    stage: Mapping[str, Any], new_stage: Mapping[str, Any], is_same: Callable[[str, str], bool]
) -> Iterator[str]:
    hashes = _get_hashes(new_stage, "outs")
    for path, md5 in _get_hashes(stage, "outs").items():
        if hashes.get(path) != md5 and not is_same(path, md5):
            yield path


def _get_hashes(stage: Mapping[str, Any], section: str) -> dict[str, str]:
    return {each["path"]: str(each.get("md5")) for each in stage.get(section, [])}


def _hash_path(path: Path) -> str | None:
    if path.is_dir():
        return cache.hash_folder(path)
    return cache.hash_file(path) if path.is_file() else None


def _compare_commands(stage: Mapping[str, Any], new_stage: Mapping[str, Any]) -> list[str]:
    old, new = stage.get("cmd"), new_stage.get("cmd")
    return [] if old == new else [f"dvc.yaml: its command was '{old}', is '{new}'"]


def _compare_params(stage: Mapping[str, Any], new_stage: Mapping[str, Any]) -> Iterator[str]:
    for file, keys in stage.get("params", {}).items():
        old, new = flatten(keys), flatten(new_stage.get("params", {}).get(file, {}))
        for key in [*old, *(key for key in new if key not in old)]:
            if old.get(key) != new.get(key):
                yield f"{file}: {key} was {_shorten(old.get(key))}, is {_shorten(new.get(key))}"


def _read_values(file: Path, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a YAML file at dotted keys; missing keys are left out."""
    content = _parse_yaml(file.read_text(encoding="utf-8"), file.name) if file.is_file() else {}
    values: dict[str, Any] = {}
    for key in keys:
        value = content
        for part in key.split("."):
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING:
            values[key] = value
    return values


def _parse_yaml(text: str, name: str) -> Any:
    """Parse YAML as DVC does (YAML 1.2, where 1e-05 is a number).

    Raises:
        MeritError: the text is not valid YAML.
    """
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml

    try:
        return parse_yaml(text, name)
    except YAMLFileCorruptedError as error:
        raise MeritError(f"{name}: not valid YAML; restore it from Git") from error


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}..."


def _overlaps(path: str, other: str) -> bool:
    """Return whether two paths are equal or one lies within the other."""
    one, two = PurePosixPath(path), PurePosixPath(other)
    return one == two or one in two.parents or two in one.parents
