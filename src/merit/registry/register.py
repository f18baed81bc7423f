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
from merit.data import input_files
from merit.dvc import cache
from merit.errors import MeritError, Refused
from merit.process import workspace_lock
from merit.registry import tags
from merit.registry.tags import Lineage, Version
from merit.scoring.package import verify_package
from merit.signing import signatures

PENDING_TAG_FILE = Path(".merit/registering")
"""Names the tag that was created here and may not be pushed yet.

A killed registration leaves this file behind; the next one removes the tag if origin doesn't have it.
"""
MAX_ATTEMPTS = 5
LOCK_FILES = (artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix())

GateRunner = Callable[[str | None], dict[str, Any]]
"""Runs the gate on the package against the champion of a commit (None: there is no champion) and returns its report."""


def register(
    lock: Lock, run_gate: GateRunner, log: Callable[[str], object] = lambda line: None
) -> tuple[Version, bool]:
    """Return the version of the package in model/, and whether it was created by this call.

    Args:
        lock: the configuration.
        run_gate: runs the gate; called only if the package has no version yet.
        log: receives a line about the remains of a killed registration.

    Raises:
        Refused: HEAD is not on main, a lock is not committed, another clone would lack a file that the source reads,
            or the gate does not pass the package.
        MeritError: the package is not the one in dvc.lock, it can't be signed, or origin can't be reached.
    """
    with workspace_lock.lock_registry():
        commit, package_hash = _require_main(), _require_locked_package()
        manifest = verify_package(artifacts.PACKAGE)
        _remove_unpushed_tag(lock.name, log)
        git.fetch_tags()
        digest, lineage = artifacts.hash_package(artifacts.PACKAGE), None
        if _find_version(lock.name, digest) is None:
            _refuse_missing_inputs(lock)
            report = _require_pass(run_gate(_find_champion_commit(commit, package_hash)), digest)
            lineage = _build_lineage(lock, report, commit, package_hash, manifest)
        return _tag_version(lock.name, digest, lineage)


def _require_main() -> str:
    commit = git.get_head()
    if commit is None:
        raise Refused("register: nothing is committed yet; a version is a commit of main")
    branches = [branch for branch in git.MAIN_BRANCHES if git.resolve_commit(branch)]
    if not any(git.is_on_branch(commit, branch) for branch in branches):
        location = git.run_git("symbolic-ref", "--short", "--quiet", "HEAD") or f"the commit {commit[:7]}"
        raise Refused(f"register: found {location}; only what is on main becomes a version: merge it first")
    return commit


def _require_locked_package() -> str:
    """Return the package's DVC hash in the committed dvc.lock, after checking that model/ is that package.

    Raises:
        Refused: params.yaml or dvc.lock differs from its committed state.
        MeritError: dvc.lock names no package, or model/ is a different one.
    """
    for name in LOCK_FILES:
        if not git.run_git("ls-tree", "--name-only", "HEAD", "--", name):
            raise Refused(f"register: {name} is not committed; commit it on a branch, and merge that")
    if git.run_git("diff", "--quiet", "HEAD", "--", *LOCK_FILES) is None:
        raise Refused(f"register: {' or '.join(LOCK_FILES)} differs from what is committed; commit or restore it")
    locked_hash = tags.read_package_hash("HEAD")
    if locked_hash is None:
        raise MeritError(f"register: {artifacts.DVC_LOCK} names no output '{artifacts.PACKAGE}'; 'merit run' makes it")
    artifacts.require_path(artifacts.PACKAGE / artifacts.MANIFEST, "run")
    actual_hash = cache.hash_folder(artifacts.PACKAGE)
    if actual_hash != locked_hash:
        raise MeritError(
            f"{artifacts.PACKAGE}/: is {actual_hash}, and {artifacts.DVC_LOCK} names {locked_hash}; 'merit pull' "
            "brings that"
        )
    return locked_hash


def _refuse_missing_inputs(lock: Lock) -> None:
    """Refuse a version that can't be reproduced from another clone because input files are missing in Git."""
    if missing := input_files.find_missing_inputs(lock):
        more = f" ({len(missing) - 1} more files are like it)" if len(missing) > 1 else ""
        raise Refused(f"register: {missing[0]}{more}")


def _find_champion_commit(commit: str, package: str) -> str | None:
    """Return the commit whose package this one replaced on main, and which it must beat; None for the first package.

    Raises:
        MeritError: the clone is too shallow to know.
    """
    lines = git.run_git("log", "--first-parent", "--format=%H", commit, "--", artifacts.DVC_LOCK.as_posix()) or ""
    for introduced in lines.splitlines():
        previous = git.resolve_commit(f"{introduced}~1")
        if previous is None:
            break
        if tags.read_package_hash(previous) != package:
            return previous
    if git.is_shallow():
        raise MeritError("register: the history before this package is not here; 'git fetch --unshallow' brings it")
    return None


def _require_pass(report: dict[str, Any], digest: str) -> dict[str, Any]:
    if report["verdict"] != "pass" or report["candidate"]["digest"] != digest:
        raise Refused(f"register: the gate does not pass this package; read {artifacts.GATE_MARKDOWN}")
    return report


def _build_lineage(
    lock: Lock, report: dict[str, Any], commit: str, package_hash: str, manifest: dict[str, Any]
) -> Lineage:
    checks = report["checks"]
    metrics = {name: each["value"] for name, each in report["metrics"]["candidate"].items()}
    return Lineage(
        commit=commit,
        package=artifacts.hash_package(artifacts.PACKAGE),
        dvc=package_hash,
        params=manifest["params_sha256"],
        data=manifest["data_sha256"],
        data_fingerprint=lock.data.fingerprint,
        verdict=report["verdict"],
        checks=sum(check["verdict"] == "pass" for check in checks),
        waived=[check["name"] for check in checks if check["waived"]],
        metrics={name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)},
        run=_find_run_id(),
        signature=_sign_package(lock),
    )


def _find_run_id() -> str | None:
    """Return the MLflow run that trained the package; None if it was not trained in this folder."""
    try:
        receipt = artifacts.read_json(artifacts.REGISTRATION, "run")
    except MeritError:
        return None
    run_id = receipt.get("run_id") if receipt.get("package") == artifacts.hash_package(artifacts.PACKAGE) else None
    return run_id if isinstance(run_id, str) else None


def _sign_package(lock: Lock) -> str | None:
    settings = lock.release.signing
    if settings.method == "none":
        return None
    bundle = signatures.sign_package(artifacts.PACKAGE, settings)
    signatures.verify_package(
        artifacts.PACKAGE, bundle, settings, is_required=True
    )  # fails if the private key doesn't match
    return bundle


def _find_version(model: str, digest: str) -> Version | None:
    """Return the version of a package by its digest; None if it has none."""
    return next((version for version in tags.list_versions(model) if version.lineage.package == digest), None)


def _tag_version(model: str, digest: str, lineage: Lineage | None) -> tuple[Version, bool]:
    """Return the package's version, pushed to origin, and whether it was created by this call.

    A new version gets the next free number; if another clone takes that number first, the next one is tried.
    """
    for _ in range(MAX_ATTEMPTS):
        version, is_new = _find_version(model, digest), False
        if version is None:
            assert lineage is not None, "a version that was there is gone"
            version, is_new = _create_tag(model, lineage), True
        if version is None:
            continue  # another process created a tag of that number at this moment
        if _push_tag(version, is_new):
            return version, is_new
        git.fetch_tags()
    raise MeritError(f"register: others took the next version in each of {MAX_ATTEMPTS} tries; run it again")


def _create_tag(model: str, lineage: Lineage) -> Version | None:
    number = max(tags.list_numbers(model), default=0) + 1
    name = f"{model}@v{number}"
    if len(str(number)) > tags.MAX_DIGITS:
        raise MeritError(f"register: {model}@v{number - 1} is the maximum; delete that tag here and at {git.ORIGIN}")
    if git.has_origin():
        artifacts.write_text(PENDING_TAG_FILE, name)
    return tags.find_version(name) if git.create_tag(name, tags.format_message(name, lineage), lineage.commit) else None


def _push_tag(version: Version, is_new: bool) -> bool:
    """Push a version's tag and return whether origin has it; a new tag that origin rejects is removed here."""
    is_pushed = False
    try:
        is_pushed = git.push_tag(version.name)
    finally:
        if is_new and not is_pushed:
            git.delete_tag(version.name)
        PENDING_TAG_FILE.unlink(missing_ok=True)
    return is_pushed


def _remove_unpushed_tag(model: str, log: Callable[[str], object]) -> None:
    """Remove the tag that a killed registration left, unless origin has that very tag.

    Raises:
        MeritError: origin can't be reached.
    """
    if not PENDING_TAG_FILE.is_file():
        return
    name = PENDING_TAG_FILE.read_text(**git.TEXT_OPTIONS).strip()
    if git.has_origin() and re.fullmatch(rf"{re.escape(model)}@v[1-9][0-9]*", name):
        local_tag = git.get_tag_object(name)
        if local_tag is not None and git.get_origin_tag_object(name) != local_tag:
            git.delete_tag(name)
            log(
                f"{name}: its tag was made here by a registration that was killed, never reached origin, and is removed"
            )
    PENDING_TAG_FILE.unlink()
