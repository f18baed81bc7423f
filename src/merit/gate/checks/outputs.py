"""The check of what dvc.lock names: what would be merged is what was judged, and nothing else comes with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from merit import artifacts, dvc
from merit.dvc import cache
from merit.errors import MeritError
from merit.gate.verdict import Check, Verdict

if TYPE_CHECKING:
    from dvc.repo import Repo

NAME = "outputs"
ALLOWED = "dvc.lock names the package that was judged, and the outputs of dvc.yaml"
ADVICE = "run 'merit run' and commit the dvc.lock that it writes"


def check() -> Check:
    """Hold dvc.lock against the package in model/, against dvc.yaml, and against what any output may be.

    The package in model/ is what its manifest says by now, so its listing is held against the manifest too.
    """
    try:
        named = dvc.here()
        if named is None:
            return _check(Verdict.PASS, f"no {artifacts.DVC_LOCK} yet")
        with dvc.opened(NAME) as repo:
            faults = [*_package(named), *_stages(repo, named)]
    except MeritError as error:
        return _check(Verdict.FAIL, str(error))
    return _check(Verdict.FAIL if faults else Verdict.PASS, "; ".join(faults) or f"{len(named)} outputs, as judged")


def _package(named: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with the package that dvc.lock names."""
    name = artifacts.PACKAGE.as_posix()
    if named.get(name) != cache.folder_hash(artifacts.PACKAGE):
        yield f"{artifacts.DVC_LOCK} names another package than {name}/"


def _stages(repo: "Repo", named: dict[str, str]) -> Iterator[str]:
    """Yield where dvc.lock is not of dvc.yaml as it is."""
    from merit.dvc.repo import path_of

    stages = [stage for stage in repo.index.stages if Path(stage.path) == Path(repo.root_dir, "dvc.yaml")]
    declared = {path_of(out, repo) for stage in stages for out in stage.outs}
    if more := sorted(set(named) - declared):
        yield f"{artifacts.DVC_LOCK} names {more[0]}, which no stage of dvc.yaml makes"
    if missing := sorted(declared - set(named)):
        yield f"{artifacts.DVC_LOCK} does not name {missing[0]}, which dvc.yaml makes"
    yield from (f"dvc.yaml has another command for the stage {stage.name}" for stage in stages if stage.cmd_changed)


def _check(verdict: Verdict, found: str) -> Check:
    return Check(NAME, verdict, found, ALLOWED, "" if verdict == Verdict.PASS else ADVICE, group="rules")
