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
from merit.reproduce import causes, compare, output_diff, rebuild, worktree
from merit.reproduce.report import Outcome

SHOWN = 5


def reproduce(ref: str | None = None, *, here: bool = False, tell: Callable[[str], None] = print) -> Outcome:
    """Rerun every stage in a commit's dvc.lock and return which outputs differ, and why.

    Args:
        ref: the commit; by default HEAD, if params.yaml and dvc.lock match it.
        here: allow installed packages that differ from the commit's requirements.lock.
        tell: receives progress lines.

    Raises:
        MeritError: there is no such commit, it has no dvc.lock, the installed packages differ, or a stage fails.
        Refused: a stage refused.
    """
    commit = _commit(ref)
    old, params = _locked(commit), causes.params_of(commit)
    _refuse_other_packages(commit, here, tell)
    with workspace_lock.reproduction() as held, worktree.worktree(commit) as root:
        for name in worktree.prepare(root, params):
            tell(f"data:     '{name}' is taken from this folder, for Git does not have it")
        if stale := compare.inputs_now(old, root):
            _tell_stale(stale, tell)
        if changed := _other_data(params, root):
            return Outcome(commit, data=changed)
        tell(f"computes: {len(old)} stages of {commit[:7]}, none out of a cache")
        rebuild.rebuild(root, held)
        return _judged(commit, old, root, params)


def _commit(ref: str | None) -> str:
    """Return the commit to reproduce.

    Raises:
        MeritError: there is no such commit, or no ref was given and a lock in the workspace differs from HEAD.
    """
    commit = git.resolve(ref or "HEAD")
    if commit is None:
        raise MeritError(f"reproduce: '{ref or 'HEAD'}': no such commit; name a branch, a tag or a commit")
    locks = [artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix()]
    changed = git.git("diff", "--name-only", "--relative", "HEAD", "--", *locks)
    if ref is None and changed:
        raise MeritError(
            f"reproduce: {' and '.join(changed.splitlines())} not as committed; commit, "
            "or name the commit whose locks are meant: 'merit reproduce HEAD'"
        )
    return commit


def _locked(commit: str) -> compare.Stages:
    text = git.show(commit, artifacts.DVC_LOCK)
    if text is None:
        raise MeritError(
            f"reproduce: {commit[:7]} has no {artifacts.DVC_LOCK}, so nothing says what it made; 'merit run', then "
            f"'git add {artifacts.DVC_LOCK}' and commit it with {artifacts.LOCK}"
        )
    return compare.stages_of(text, f"{artifacts.DVC_LOCK} at {commit[:7]}")


def _refuse_other_packages(commit: str, here: bool, tell: Callable[[str], None]) -> None:
    """Report packages whose versions differ from the commit's requirements.lock.

    Raises:
        MeritError: packages differ and `here` is false.
    """
    if git.show(commit, causes.LOCKED) is None:
        tell(f"packages: {commit[:7]} has no {causes.LOCKED}, so nothing says which it was made with")
    wrong = causes.packages(commit)
    if not wrong:
        return
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    found = f"{', '.join(wrong[:SHOWN])}{more}"
    if not here:
        short = commit[:7]
        raise MeritError(
            f"reproduce: other packages are installed than {short} names: {found}; 'git show "
            f"{short}:./{causes.LOCKED} > /tmp/{short}.txt && pip install -r /tmp/{short}.txt' in an environment "
            "of its own brings them, --here takes those that are here"
        )
    tell(f"packages: not those of {commit[:7]}: {found}")


def _tell_stale(stale: dict[str, list[str]], tell: Callable[[str], None]) -> None:
    for name, lines in stale.items():
        tell(f"inputs:   {name}: {'; '.join(lines[:SHOWN])}")
    tell(f"          so {artifacts.DVC_LOCK} was made of other inputs than the commit holds")


def _other_data(params: dict[str, Any], root: Path) -> str | None:
    """Return a line if the source's files no longer match the lock's fingerprint, which `ingest` would refuse."""
    made_for = (params.get("data") or {}).get("fingerprint")
    found = rebuild.fingerprint(root) if made_for else None
    if found is None or found == made_for:
        return None
    return f"ingest: data.source: its files are {found}, {artifacts.LOCK} was made for {made_for}"


def _judged(commit: str, old: compare.Stages, root: Path, params: dict[str, Any]) -> Outcome:
    new = compare.stages_of((root / artifacts.DVC_LOCK).read_text(encoding="utf-8"), f"the new {artifacts.DVC_LOCK}")

    def is_same(path: str, md5: str) -> bool:
        return path == artifacts.PACKAGE.as_posix() and output_diff.is_same_package(root / path, md5, commit)

    stages = compare.compared(old, new, is_same)
    apart = [path for stage in stages for path in stage.outputs]
    if not apart:
        return Outcome(commit, stages)
    with tempfile.TemporaryDirectory() as room:
        then = causes.recorded(commit, causes.weights_of(commit, Path(room)), params)
    return Outcome(
        commit,
        stages,
        inside={path: output_diff.differences(path, root, commit) for path in apart},
        causes=causes.causes(commit, then),
        is_near=output_diff.within_tolerance(root, commit) if artifacts.METRICS.as_posix() in apart else None,
        other_processor=causes.is_other_processor(then),
    )
