"""Checks that dvc.lock names exactly the judged package and the outputs that dvc.yaml declares."""

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
    """Compare dvc.lock with the package in model/, with dvc.yaml, and with the rules that every output must satisfy.

    The files in model/ were verified against the package's manifest before, so a matching hash also means that dvc.lock
    lists what the manifest lists.
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
    """Yield a message if dvc.lock names another package than the one in model/."""
    name = artifacts.PACKAGE.as_posix()
    if named.get(name) != cache.folder_hash(artifacts.PACKAGE):
        yield f"{artifacts.DVC_LOCK} names another package than {name}/"


def _stages(repo: "Repo", named: dict[str, str]) -> Iterator[str]:
    """Yield the differences between dvc.lock and the stages of dvc.yaml."""
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
