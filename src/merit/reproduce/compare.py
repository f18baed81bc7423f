"""Compares two dvc.lock files of one pipeline: inputs and outputs of each stage, and the first stage that differs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from merit.dvc import cache
from merit.errors import MeritError
from merit.tracking.run_facts import flat

Stages = Mapping[str, Any]
"""The stages of a dvc.lock: each `{cmd, deps: [{path, md5}], params: {file: {key: value}}, outs: [{path, md5}]}`."""
SHORT = 60
LACKING = object()


@dataclass(frozen=True)
class Stage:
    """The differences of one stage between two locks.

    Attributes:
        name: the stage's name.
        inputs: a line for each input that differs and is not the output of a stage: command, files, parameters.
        follows: the inputs that differ because they are outputs of stages that differ.
        outputs: the paths of the outputs that differ.
    """

    name: str
    inputs: list[str]
    follows: list[str]
    outputs: list[str]

    @property
    def is_first(self) -> bool:
        """Whether this stage's outputs differ while all outputs of earlier stages that it uses are the same."""
        return bool(self.outputs) and not self.follows


def stages_of(text: str, name: str) -> Stages:
    """Return the stages of a dvc.lock in topological order.

    Args:
        text: the content of the file.
        name: the file's name, used in messages.

    Raises:
        MeritError: the text is not a valid dvc.lock.
    """
    try:
        stages = _parsed(text, name)["stages"]
        made = {out["path"]: each for each, stage in stages.items() for out in stage.get("outs", [])}
        needs = {each: [dep["path"] for dep in stage.get("deps", [])] for each, stage in stages.items()}
        before = {each: [made[out] for out in made for path in needs[each] if _meets(out, path)] for each in stages}
        return {each: stages[each] for each in TopologicalSorter(before).static_order()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MeritError(f"{name}: not a lock of DVC's ({reason}); restore it from Git") from error


def compared(old: Stages, new: Stages, is_same: Callable[[str, str], bool]) -> list[Stage]:
    """Return the differences of each stage of the old lock in the new one.

    Args:
        old: the stages of the committed lock.
        new: the stages of the reproduced lock.
        is_same: decides whether an output with a different hash still counts as the same; receives its path and its
            old hash.
    """
    outputs = {out["path"] for stage in old.values() for out in stage.get("outs", [])}
    found: list[Stage] = []
    for name, stage in old.items():
        apart = {path for each in found for path in each.outputs}
        now = new.get(name, {})
        hashes = _hashes(now, "deps")
        changed = [path for path, md5 in _hashes(stage, "deps").items() if hashes.get(path) != md5]
        follows = [path for path in changed if any(_meets(each, path) for each in apart)]
        # An output whose hash differs but that `is_same` accepts doesn't count as a changed input downstream.
        own = [path for path in changed if path not in follows and not any(_meets(each, path) for each in outputs)]
        inputs = [*_command(stage, now), *(f"{path} differs" for path in own), *_params(stage, now)]
        found.append(Stage(name, inputs, follows, list(_parted(stage, now, is_same))))
    return found


def inputs_now(old: Stages, root: Path) -> dict[str, list[str]]:
    """Return lines on inputs in a worktree that differ from the lock, by stage, before anything is computed.

    Args:
        old: the stages of the committed lock.
        root: the project folder in the worktree.
    """
    outputs = {out["path"] for stage in old.values() for out in stage.get("outs", [])}
    found: dict[str, list[str]] = {}
    for name, stage in old.items():
        files = {p: md5 for p, md5 in _hashes(stage, "deps").items() if not any(_meets(o, p) for o in outputs)}
        others = [f"{path} differs" for path, md5 in files.items() if _hash(root / path) != md5]
        params = {file: _values(root / file, keys) for file, keys in stage.get("params", {}).items()}
        if lines := [*others, *_params(stage, {"params": params})]:
            found[name] = lines
    return found


def _parted(stage: Mapping[str, Any], now: Mapping[str, Any], is_same: Callable[[str, str], bool]) -> Iterator[str]:
    hashes = _hashes(now, "outs")
    for path, md5 in _hashes(stage, "outs").items():
        if hashes.get(path) != md5 and not is_same(path, md5):
            yield path


def _hashes(stage: Mapping[str, Any], what: str) -> dict[str, str]:
    return {each["path"]: str(each.get("md5")) for each in stage.get(what, [])}


def _hash(path: Path) -> str | None:
    if path.is_dir():
        return cache.folder_hash(path)
    return cache.file_hash(path) if path.is_file() else None


def _command(stage: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = stage.get("cmd"), now.get("cmd")
    return [] if old == new else [f"dvc.yaml: its command was '{old}', is '{new}'"]


def _params(stage: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for file, keys in stage.get("params", {}).items():
        old, new = flat(keys), flat(now.get("params", {}).get(file, {}))
        for key in [*old, *(key for key in new if key not in old)]:
            if old.get(key) != new.get(key):
                yield f"{file}: {key} was {_short(old.get(key))}, is {_short(new.get(key))}"


def _values(file: Path, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a YAML file at dotted keys; missing keys are left out."""
    read = _parsed(file.read_text(encoding="utf-8"), file.name) if file.is_file() else {}
    found: dict[str, Any] = {}
    for key in keys:
        value = read
        for part in key.split("."):
            value = value.get(part, LACKING) if isinstance(value, dict) else LACKING
        if value is not LACKING:
            found[key] = value
    return found


def _parsed(text: str, name: str) -> Any:
    """Parse YAML as DVC does (YAML 1.2, where 1e-05 is a number).

    Raises:
        MeritError: the text is not valid YAML.
    """
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml

    try:
        return parse_yaml(text, name)
    except YAMLFileCorruptedError as error:
        raise MeritError(f"{name}: not valid YAML; restore it from Git") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}..."


def _meets(path: str, other: str) -> bool:
    """Return whether two paths are equal or one lies within the other."""
    one, two = PurePosixPath(path), PurePosixPath(other)
    return one == two or one in two.parents or two in one.parents
