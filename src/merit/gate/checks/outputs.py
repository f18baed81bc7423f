"""Checks that dvc.lock names the judged package and the outputs that dvc.yaml declares, as its stages made them.

A hash that was edited by hand names other outputs than the files that are judged, or than those that a stage read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from merit import artifacts, dvc
from merit.dvc import cache, consistency
from merit.errors import MeritError
from merit.gate.checks.protocol import CheckFamily
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

if TYPE_CHECKING:
    from dvc.repo import Repo

NAME = "outputs"
WAIVABLE = False
ALLOWED = "dvc.lock names what is here and was judged: the outputs of dvc.yaml, and what its stages read"
ADVICE = "run 'merit run' and commit the dvc.lock that it writes"


def check_outputs() -> CheckResult:
    """Compare dvc.lock with the package in model/, with dvc.yaml, and with the rules that every output must satisfy.

    The files in model/ were verified against the package's manifest before, so a matching hash also means that dvc.lock
    lists what the manifest lists.
    """
    try:
        output_hashes = dvc.read_outputs()
        if output_hashes is None:
            return _build_check(Verdict.NOT_APPLICABLE, f"no {artifacts.DVC_LOCK} yet")
        with dvc.open_repository(NAME) as repo:
            problems = [*_check_package(output_hashes), *_check_stages(repo, output_hashes)]
    except MeritError as error:
        return _build_check(Verdict.FAIL, str(error))
    return _build_check(
        Verdict.FAIL if problems else Verdict.PASS, "; ".join(problems) or f"{len(output_hashes)} outputs, as judged"
    )


def _check_package(output_hashes: dict[str, str]) -> Iterator[str]:
    """Yield how the package in model/ differs from what dvc.lock names, and from what it names as its origins."""
    name = artifacts.PACKAGE.as_posix()
    if output_hashes.get(name) != cache.hash_folder(artifacts.PACKAGE):
        yield f"{artifacts.DVC_LOCK} names another package than {name}/"
    weights = artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS
    trained = output_hashes.get(artifacts.WEIGHTS.as_posix())
    if trained is not None and weights.is_file() and cache.hash_file(weights) != trained:
        yield f"{name}/ has other weights than {artifacts.DVC_LOCK} names for {artifacts.WEIGHTS}"
    manifest = artifacts.PACKAGE / artifacts.MANIFEST
    if artifacts.RAW.is_file() and manifest.is_file():
        data_hash = artifacts.read_json(manifest, "package").get("data_sha256")
        if data_hash is not None and data_hash != artifacts.hash_file(artifacts.RAW):
            yield f"{name}/ was made with other data than {artifacts.RAW}"


def _check_stages(repo: "Repo", output_hashes: dict[str, str]) -> Iterator[str]:
    """Yield the differences between dvc.lock and the stages of dvc.yaml."""
    from merit.dvc.repository import get_output_path

    stages = [stage for stage in repo.index.stages if Path(stage.path) == Path(repo.root_dir, "dvc.yaml")]
    declared = {get_output_path(out, repo) for stage in stages for out in stage.outs}
    if undeclared := sorted(set(output_hashes) - declared):
        yield f"{artifacts.DVC_LOCK} names {undeclared[0]}, which no stage of dvc.yaml makes"
    if missing := sorted(declared - set(output_hashes)):
        yield f"{artifacts.DVC_LOCK} does not name {missing[0]}, which dvc.yaml makes"
    yield from (f"dvc.yaml has another command for the stage {stage.name}" for stage in stages if stage.cmd_changed)
    yield from consistency.list_differences(repo, stages, compared=artifacts.PACKAGE.as_posix())


def _build_check(verdict: Verdict, found: str) -> CheckResult:
    return CheckResult(NAME, verdict, found, ALLOWED, ADVICE, group="rules")


FAMILY = CheckFamily(240, lambda _: {NAME: lambda _: check_outputs()})
