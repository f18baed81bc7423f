"""Compares dvc.lock with itself and with the files that are here, without running or writing anything."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from merit.dvc.repository import LOCK_FILE, get_output_path

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

DELETED = "deleted"
"""DVC's status of a file that is not here."""


def list_differences(repo: "Repo", stages: "Iterable[Stage]", *, compared: str) -> Iterator[str]:
    """Yield what of dvc.lock contradicts itself, params.yaml or a file that is here.

    A stage's output that is not here contradicts nothing, but where dvc.lock names what a stage made and what another
    read of it, both must be the same.

    Args:
        repo: DVC's repository.
        stages: the stages of dvc.yaml.
        compared: the path of the output whose files are compared elsewhere.
    """
    stages = list(stages)
    outputs = {out.fs_path: out for stage in stages for out in stage.outs}
    for stage in stages:
        for dep in stage.deps:
            yield from _compare_dependency(dep, stage, outputs, repo)
        for out in stage.outs:
            path = get_output_path(out, repo)
            if path != compared and out.hash_info and _read_status(out) - {DELETED}:
                yield f"{path} is not what {LOCK_FILE} names"


def _compare_dependency(
    dep: "Dependency", stage: "Stage", outputs: "Mapping[str, Output]", repo: "Repo"
) -> Iterator[str]:
    """Yield how a dependency differs from what its stage read, as dvc.lock has it."""
    path = get_output_path(dep, repo)
    if (out := outputs.get(dep.fs_path)) is not None:
        if dep.hash_info != out.hash_info:
            yield f"{LOCK_FILE} names another {path} where it is made than where the stage {stage.name} reads it"
    elif not _overlaps(dep, outputs) and _read_status(dep):
        yield f"{path} is not what the stage {stage.name} read"


def _overlaps(dep: "Dependency", outputs: "Mapping[str, Output]") -> bool:
    """Return whether a dependency is a part of an output, or a folder around one, which its stage decides."""
    return any(dep.fs.isin(dep.fs_path, path) or dep.fs.isin(path, dep.fs_path) for path in outputs)


def _read_status(item: "Output") -> set[str]:
    """Return how an output, a dependency or its parameters differ from dvc.lock; empty if they don't."""
    status = item.workspace_status()
    values = [each for value in status.values() for each in (value.values() if isinstance(value, dict) else [value])]
    return {str(each) for each in values}
