"""`merit reproduce`: reruns every stage of a commit in a clean worktree and compares the result with its dvc.lock.

- `worktree`: creates and removes the worktree.
- `rebuild`: runs the stages in it.
- `compare`: compares the two dvc.lock files, stage by stage.
- `output_diff`: compares the content of outputs that differ.
- `causes`: finds other differences: code, packages, the machine.
- `report`: formats the result as lines.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.errors import MeritError
from merit.process import workspace_lock
from merit.reproduce import causes, compare, output_diff, rerun, worktree
from merit.reproduce.report import ReproductionResult

MAX_DISPLAYED = 5


def reproduce(
    ref: str | None = None, *, allow_other_packages: bool = False, log: Callable[[str], None] = print
) -> ReproductionResult:
    """Rerun every stage in a commit's dvc.lock and return which outputs differ, and why.

    Args:
        ref: the commit; by default HEAD, if params.yaml and dvc.lock match it.
        allow_other_packages: allow installed packages that differ from the commit's requirements.lock.
        log: receives progress lines.

    Raises:
        MeritError: there is no such commit, it has no dvc.lock, the installed packages differ, or a stage fails.
        Refused: a stage refused.
    """
    commit = _resolve_commit(ref)
    locked_stages, params = _load_locked_stages(commit), causes.load_params(commit)
    _refuse_other_packages(commit, allow_other_packages, log)
    with workspace_lock.lock_reproduction() as lock_descriptor, worktree.check_out_worktree(commit) as root:
        for name in worktree.prepare_worktree(root, params):
            log(f"data:     '{name}' is taken from this folder, for Git does not have it")
        if changed_inputs := compare.find_changed_inputs(locked_stages, root):
            _log_changed_inputs(changed_inputs, log)
        if data_change := _check_fingerprint(params, root):
            return ReproductionResult(commit, data_change=data_change)
        log(f"computes: {len(locked_stages)} stages of {commit[:7]}, none out of a cache")
        rerun.run_stages(root, lock_descriptor)
        return _compare_results(commit, locked_stages, root, params)


def _resolve_commit(ref: str | None) -> str:
    """Return the commit to reproduce.

    Raises:
        MeritError: there is no such commit, or no ref was given and a lock in the workspace differs from HEAD.
    """
    commit = git.resolve_commit(ref or "HEAD")
    if commit is None:
        raise MeritError(f"reproduce: '{ref or 'HEAD'}': no such commit; name a branch, a tag or a commit")
    lock_files = [artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix()]
    changed = git.run_git("diff", "--name-only", "--relative", "HEAD", "--", *lock_files)
    if ref is None and changed:
        raise MeritError(
            f"reproduce: {' and '.join(changed.splitlines())} not as committed; commit, "
            "or name the commit whose locks are meant: 'merit reproduce HEAD'"
        )
    return commit


def _load_locked_stages(commit: str) -> compare.LockedStages:
    text = git.read_file(commit, artifacts.DVC_LOCK)
    if text is None:
        raise MeritError(
            f"reproduce: {commit[:7]} has no {artifacts.DVC_LOCK}, so nothing says what it made; 'merit run', then "
            f"'git add {artifacts.DVC_LOCK}' and commit it with {artifacts.LOCK}"
        )
    return compare.parse_stages(text, f"{artifacts.DVC_LOCK} at {commit[:7]}")


def _refuse_other_packages(commit: str, allow_other_packages: bool, log: Callable[[str], None]) -> None:
    """Report packages whose versions differ from the commit's requirements.lock.

    Raises:
        MeritError: packages differ and `allow_other_packages` is false.
    """
    if git.read_file(commit, causes.REQUIREMENTS_FILE) is None:
        log(f"packages: {commit[:7]} has no {causes.REQUIREMENTS_FILE}, so nothing says which it was made with")
    differing = causes.find_other_packages(commit)
    if not differing:
        return
    more = f" and {len(differing) - MAX_DISPLAYED} more" if len(differing) > MAX_DISPLAYED else ""
    summary = f"{', '.join(differing[:MAX_DISPLAYED])}{more}"
    if not allow_other_packages:
        short = commit[:7]
        raise MeritError(
            f"reproduce: other packages are installed than {short} names: {summary}; 'git show "
            f"{short}:./{causes.REQUIREMENTS_FILE} > /tmp/{short}.txt && pip install -r /tmp/{short}.txt' in an "
            "environment "
            "of its own brings them, --here takes those that are here"
        )
    log(f"packages: not those of {commit[:7]}: {summary}")


def _log_changed_inputs(changed_inputs: dict[str, list[str]], log: Callable[[str], None]) -> None:
    for name, lines in changed_inputs.items():
        log(f"inputs:   {name}: {'; '.join(lines[:MAX_DISPLAYED])}")
    log(f"          so {artifacts.DVC_LOCK} was made of other inputs than the commit holds")


def _check_fingerprint(params: dict[str, Any], root: Path) -> str | None:
    """Return a line if the source's files no longer match the lock's fingerprint, which `ingest` would refuse."""
    expected = (params.get("data") or {}).get("fingerprint")
    actual = rerun.compute_fingerprint(root) if expected else None
    if actual is None or actual == expected:
        return None
    return f"ingest: data.source: its files are {actual}, {artifacts.LOCK} was made for {expected}"


def _compare_results(
    commit: str, locked_stages: compare.LockedStages, root: Path, params: dict[str, Any]
) -> ReproductionResult:
    new_stages = compare.parse_stages(
        (root / artifacts.DVC_LOCK).read_text(encoding="utf-8"), f"the new {artifacts.DVC_LOCK}"
    )

    def is_same(path: str, md5: str) -> bool:
        return path == artifacts.PACKAGE.as_posix() and output_diff.is_same_package(root / path, md5, commit)

    stages = compare.compare_stages(locked_stages, new_stages, is_same)
    differing = [path for stage in stages for path in stage.changed_outputs]
    if not differing:
        return ReproductionResult(commit, stages)
    with tempfile.TemporaryDirectory() as scratch:
        recorded_facts = causes.load_recorded_facts(commit, causes.hash_weights(commit, Path(scratch)), params)
    return ReproductionResult(
        commit,
        stages,
        content_differences={path: output_diff.describe_differences(path, root, commit) for path in differing},
        causes=causes.find_causes(commit, recorded_facts),
        is_within_tolerance=output_diff.is_within_tolerance(root, commit)
        if artifacts.METRICS.as_posix() in differing
        else None,
        is_other_processor=causes.is_other_processor(recorded_facts),
    )
