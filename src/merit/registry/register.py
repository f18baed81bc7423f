"""`merit register`: creates a version of the package in main's dvc.lock, as an annotated tag that holds its lineage.

A package is registered once: registering it again returns the version that it has.
"""

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
"""Names the tag that was created here and may not be pushed yet.

A killed registration leaves this file behind; the next one removes the tag if origin doesn't have it.
"""
TRIES = 5
LOCKS = (artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix())

Judge = Callable[[str | None], dict[str, Any]]
"""Runs the gate on the package against the champion of a commit (None: there is no champion) and returns its report."""


def register(lock: Lock, judge: Judge, tell: Callable[[str], object] = lambda line: None) -> tuple[Version, bool]:
    """Return the version of the package in model/, and whether it was created by this call.

    Args:
        lock: the configuration.
        judge: runs the gate; called only if the package has no version yet.
        tell: receives a line about the remains of a killed registration.

    Raises:
        Refused: HEAD is not on main, a lock is not committed, another clone would lack a file that the source reads,
            or the gate does not pass the package.
        MeritError: the package is not the one in dvc.lock, it can't be signed, or origin can't be reached.
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
    """Return the package's DVC hash in the committed dvc.lock, after checking that model/ is that package.

    Raises:
        Refused: params.yaml or dvc.lock differs from its committed state.
        MeritError: dvc.lock names no package, or model/ is a different one.
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
    """Refuse a version that can't be reproduced from another clone because input files are missing in Git."""
    if missing := inputs.missing_inputs(lock):
        more = f" ({len(missing) - 1} more files are like it)" if len(missing) > 1 else ""
        raise Refused(f"register: {missing[0]}{more}")


def _rival(commit: str, package: str) -> str | None:
    """Return the commit whose package this one replaced on main, and which it must beat; None for the first package.

    Raises:
        MeritError: the clone is too shallow to know.
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
    """Return the MLflow run that trained the package; None if it was not trained in this folder."""
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
    signatures.verify(artifacts.PACKAGE, bundle, how, demanded=True)  # fails if the private key doesn't match
    return bundle


def _of(model: str, digest: str) -> Version | None:
    """Return the version of a package by its digest; None if it has none."""
    return next((version for version in tags.versions(model) if version.lineage.package == digest), None)


def _tagged(model: str, digest: str, lineage: Lineage | None) -> tuple[Version, bool]:
    """Return the package's version, pushed to origin, and whether it was created by this call.

    A new version gets the next free number; if another clone takes that number first, the next one is tried.
    """
    for _ in range(TRIES):
        version, made = _of(model, digest), False
        if version is None:
            assert lineage is not None, "a version that was there is gone"
            version, made = _make(model, lineage), True
        if version is None:
            continue  # another process created a tag of that number at this moment
        if _pushed(version, made):
            return version, made
        git.fetch_tags()
    raise MeritError(f"register: others took the next version in each of {TRIES} tries; run it again")


def _make(model: str, lineage: Lineage) -> Version | None:
    number = max(tags.numbers(model), default=0) + 1
    name = f"{model}@v{number}"
    if len(str(number)) > tags.DIGITS:
        raise MeritError(f"register: {model}@v{number - 1} is the maximum; delete that tag here and at {git.ORIGIN}")
    if git.has_origin():
        artifacts.write_text(PENDING, name)
    return tags.find(name) if git.tag(name, tags.message(name, lineage), lineage.commit) else None


def _pushed(version: Version, made: bool) -> bool:
    """Push a version's tag and return whether origin has it; a new tag that origin rejects is removed here."""
    taken = False
    try:
        taken = git.push_tag(version.name)
    finally:
        if made and not taken:
            git.drop_tag(version.name)
        PENDING.unlink(missing_ok=True)
    return taken


def _forget_half(model: str, tell: Callable[[str], object]) -> None:
    """Remove the tag that a killed registration left, unless origin has that very tag.

    Raises:
        MeritError: origin can't be reached.
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
