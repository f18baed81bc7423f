"""register: the package that main's dvc.lock names as a version, once: an annotated tag that carries the lineage."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.config.schema import Lock
from merit.data import inputs
from merit.dvc import cache
from merit.errors import MeritError, Refused
from merit.process import workspace_lock
from merit.registry import tags
from merit.registry.tags import Lineage, Version
from merit.scoring.package import verified
from merit.signing import signatures

PENDING = Path(".merit/registering")
"""The tag that was made here and may not be at origin yet; who was killed left it, and it counts for nothing."""
TRIES = 5
LOCKS = (artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix())

Judge = Callable[[str | None], dict[str, Any]]
"""Returns the gate's report on the package against the champion of a commit; None for a repository's first package."""


def register(lock: Lock, judge: Judge, tell: Callable[[str], object] = lambda line: None) -> tuple[Version, bool]:
    """Return the version of the package in model/, and whether it was made now.

    Args:
        lock: the configuration.
        judge: asked only if the package has no version yet.
        tell: given a line about what a registration that was killed had left.

    Raises:
        Refused: this is not main, or not all is committed, or another clone would lack a file that the source reads, or
            the gate does not pass the package.
        MeritError: the package is not what dvc.lock names, it can't be signed, or origin can't be reached.
    """
    with workspace_lock.registry():
        commit, dvc = _on_main(), _locked()
        manifest = verified(artifacts.PACKAGE)
        _forget_half(lock.name, tell)
        git.fetch_tags()
        digest, lineage = artifacts.package_digest(artifacts.PACKAGE), None
        if _of(lock.name, digest) is None:
            _refuse_missing(lock)
            report = _passed(judge(_rival(commit, dvc)), digest)
            lineage = _lineage(lock, report, commit, dvc, manifest)
        return _tagged(lock.name, digest, lineage)


def _on_main() -> str:
    commit = git.head()
    if commit is None:
        raise Refused("register: nothing is committed yet; a version is a commit of main")
    branches = [branch for branch in git.MAIN if git.resolve(branch)]
    if not any(git.is_on(commit, branch) for branch in branches):
        here = git.git("symbolic-ref", "--short", "--quiet", "HEAD") or f"the commit {commit[:7]}"
        raise Refused(f"register: found {here}; only what is on main becomes a version: merge it first")
    return commit


def _locked() -> str:
    """Return the hash by which the committed dvc.lock knows the package; model/ is that package.

    Raises:
        Refused: params.yaml or dvc.lock is not as committed.
        MeritError: dvc.lock names no package, or model/ is another.
    """
    for name in LOCKS:
        if not git.git("ls-tree", "--name-only", "HEAD", "--", name):
            raise Refused(f"register: {name} is not committed; commit it on a branch, and merge that")
    if git.git("diff", "--quiet", "HEAD", "--", *LOCKS) is None:
        raise Refused(f"register: {' or '.join(LOCKS)} differs from what is committed; commit or restore it")
    named = tags.package_at("HEAD")
    if named is None:
        raise MeritError(f"register: {artifacts.DVC_LOCK} names no output '{artifacts.PACKAGE}'; 'merit run' makes it")
    artifacts.require(artifacts.PACKAGE / artifacts.MANIFEST, "run")
    found = cache.folder_hash(artifacts.PACKAGE)
    if found != named:
        raise MeritError(
            f"{artifacts.PACKAGE}/: is {found}, and {artifacts.DVC_LOCK} names {named}; 'merit pull' brings that"
        )
    return named


def _refuse_missing(lock: Lock) -> None:
    """Refuse a version that nobody else could compute again."""
    if missing := inputs.missing_inputs(lock):
        more = f" ({len(missing) - 1} more files are like it)" if len(missing) > 1 else ""
        raise Refused(f"register: {missing[0]}{more}")


def _rival(commit: str, package: str) -> str | None:
    """Return the commit of main whose champion this package had to beat: the one before it came; None if there is none.

    Raises:
        MeritError: the history that would tell was not fetched.
    """
    lines = git.git("log", "--first-parent", "--format=%H", commit, "--", artifacts.DVC_LOCK.as_posix()) or ""
    for came in lines.splitlines():
        before = git.resolve(f"{came}~1")
        if before is None:
            break
        if tags.package_at(before) != package:
            return before
    if git.is_shallow():
        raise MeritError("register: the history before this package is not here; 'git fetch --unshallow' brings it")
    return None


def _passed(report: dict[str, Any], digest: str) -> dict[str, Any]:
    if report["verdict"] != "pass" or report["candidate"]["digest"] != digest:
        raise Refused(f"register: the gate does not pass this package; read {artifacts.GATE_MARKDOWN}")
    return report


def _lineage(lock: Lock, report: dict[str, Any], commit: str, dvc: str, manifest: dict[str, Any]) -> Lineage:
    checks = report["checks"]
    metrics = {name: each["value"] for name, each in report["metrics"]["candidate"].items()}
    return Lineage(
        commit=commit,
        package=artifacts.package_digest(artifacts.PACKAGE),
        dvc=dvc,
        params=manifest["params_sha256"],
        data=manifest["data_sha256"],
        data_fingerprint=lock.data.fingerprint,
        verdict=report["verdict"],
        checks=sum(check["verdict"] == "pass" for check in checks),
        waived=[check["name"] for check in checks if check["waived"]],
        metrics={name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)},
        run=_run_id(),
        signature=_signature(lock),
    )


def _run_id() -> str | None:
    """Return the run in MLflow that the package came from, where it was trained here."""
    try:
        receipt = artifacts.read_json(artifacts.REGISTRATION, "run")
    except MeritError:
        return None
    run_id = receipt.get("run_id") if receipt.get("package") == artifacts.package_digest(artifacts.PACKAGE) else None
    return run_id if isinstance(run_id, str) else None


def _signature(lock: Lock) -> str | None:
    how = lock.release.signing
    if how.method == "none":
        return None
    bundle = signatures.sign(artifacts.PACKAGE, how)
    signatures.verify(artifacts.PACKAGE, bundle, how, demanded=True)  # a key that is not the public one's partner
    return bundle


def _of(model: str, digest: str) -> Version | None:
    """Return the version that a package has."""
    return next((version for version in tags.versions(model) if version.lineage.package == digest), None)


def _tagged(model: str, digest: str, lineage: Lineage | None) -> tuple[Version, bool]:
    """Return the package's version, here and at origin; made, by the next number that nobody took, if it has none."""
    for _ in range(TRIES):
        version, made = _of(model, digest), False
        if version is None:
            assert lineage is not None, "a version that was there is gone"
            version, made = _make(model, lineage), True
        if version is None:
            continue  # another repository's process made one of that number just now
        if _pushed(version, made):
            return version, made
        git.fetch_tags()
    raise MeritError(f"register: others took the next version in each of {TRIES} tries; run it again")


def _make(model: str, lineage: Lineage) -> Version | None:
    number = max(tags.numbers(model), default=0) + 1
    name = f"{model}@v{number}"
    if len(str(number)) > tags.DIGITS:
        raise MeritError(f"register: {model}@v{number - 1} leaves no number; delete that tag here and at {git.ORIGIN}")
    if git.has_origin():
        artifacts.write_text(PENDING, name)
    return tags.find(name) if git.tag(name, tags.message(name, lineage), lineage.commit) else None


def _pushed(version: Version, made: bool) -> bool:
    """Push a tag; one that was made now and that origin does not take is removed again."""
    taken = False
    try:
        taken = git.push_tag(version.name)
    finally:
        if made and not taken:
            git.drop_tag(version.name)
        PENDING.unlink(missing_ok=True)
    return taken


def _forget_half(model: str, tell: Callable[[str], object]) -> None:
    """Remove the tag of a registration that was killed, if origin has not this very tag.

    Raises:
        MeritError: origin, which alone can tell, can't be reached.
    """
    if not PENDING.is_file():
        return
    name = PENDING.read_text(**git.TEXT).strip()
    if git.has_origin() and re.fullmatch(rf"{re.escape(model)}@v[1-9][0-9]*", name):
        here = git.tag_object(name)
        if here is not None and git.tag_at_origin(name) != here:
            git.drop_tag(name)
            tell(
                f"{name}: its tag was made here by a registration that was killed, never reached origin, and is removed"
            )
    PENDING.unlink()
