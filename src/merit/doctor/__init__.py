"""doctor: checks the prerequisites of merit on this machine, in this repository and in its stores; read-only.

`machine` checks Python, packages, disk and programs; `git_repository` checks conf/ and Git; `github_settings` checks
the settings of the GitHub repository; `dvc_remote` checks the DVC remote; the tracker's own file checks the tracking
store. Each finding is one line with its remedy.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from merit import artifacts
from merit.config import extensions
from merit.config import lock as locks
from merit.config.schema import TRACKER_PACKAGE, Lock
from merit.console.findings import Finding, State
from merit.doctor import dvc_remote, git_repository, github_settings, machine
from merit.doctor.parallel_checks import run_within
from merit.errors import MeritError, Refused

CHECK_TIMEOUT_S = 5.0
"""Time limit per check, after which it is reported as missing."""


def run_checks() -> list[Finding]:
    """Run all checks; return their findings in the order of display."""
    # These imports take seconds: done here, they don't count against the time limit of the remote's check.
    import dvc.repo  # noqa: F401

    import merit.dvc.repository  # noqa: F401

    lock, configuration = _read_lock()
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", machine.check_python),
        ("packages", machine.check_packages),
        ("disk", machine.check_disk),
        ("conf files", git_repository.check_conf_files),
        ("source", lambda: git_repository.check_source(lock)),
        ("git", git_repository.check_git),
        ("git remote", git_repository.check_origin),
        ("git lfs", git_repository.check_lfs),
        (github_settings.CHECK_NAME, github_settings.check_workflows),
        ("dvc remote", dvc_remote.check_remote),
        ("tracking", lambda: check_tracking(lock) if lock else iter(())),
        ("signing", lambda: machine.check_signing(lock)),
        ("images", machine.check_engines),
        ("haproxy", machine.check_haproxy),
    ]
    findings = run_within(CHECK_TIMEOUT_S, checks)
    return [configuration, *findings]


def check_tracking(lock: Lock) -> Iterator[Finding]:
    """Check whether the backend of conf/tracking can store runs, by the `diagnose_store` of its own file."""
    yield extensions.import_extension(TRACKER_PACKAGE, lock.tracking.to).diagnose_store(lock.tracking)


def _read_lock() -> tuple[Lock | None, Finding]:
    """Return the configuration, or None if it can't be read, with the finding about it."""
    name = "configuration"
    if not (artifacts.CONF / "config.yaml").is_file():
        return None, Finding(name, "broken", "no conf/config.yaml here", "run merit in the folder that holds conf/")
    if not artifacts.LOCK.is_file():
        return None, Finding(name, "missing", f"no {artifacts.LOCK}", "'merit compose' writes it")
    try:
        lock = locks.read_lock()
    except MeritError as error:
        return None, Finding(name, "broken", f"{artifacts.LOCK}: {error}", "'merit compose' writes it again")
    return lock, Finding(name, "ok", f"{artifacts.LOCK} of '{lock.name}' can be read")


def compute_exit_code(findings: list[Finding]) -> int:
    """Return 0 if everything needed is present, 1 if something is missing, 2 if something is broken."""
    states = {each.state for each in findings}
    return MeritError.exit_code if "broken" in states else Refused.exit_code if "missing" in states else 0


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings and the exit code as JSON values."""
    return {"exit_code": compute_exit_code(findings), "findings": [asdict(each) for each in findings]}


STATE_LABELS: dict[State, str] = {"ok": "ok", "note": "note", "missing": "MISSING", "broken": "BROKEN"}


def render_lines(findings: list[Finding]) -> list[str]:
    """Return the findings as text: one aligned line each, and a summary."""
    name_width = max(len(each.name) for each in findings)
    rows = [
        f"{STATE_LABELS[each.state]:7}  {each.name:{name_width}}  {each.found}{f'; {each.do}' if each.do else ''}"
        for each in findings
    ]
    counts = {state: sum(each.state == state for each in findings) for state in STATE_LABELS}
    verdict = (
        f"{counts['missing']} missing, {counts['broken']} broken"
        if compute_exit_code(findings)
        else "all that is needed is there"
    )
    return [*rows, f"doctor: {verdict}"]
