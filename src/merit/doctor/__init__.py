"""doctor: checks the prerequisites of merit on this machine, in this repository and in its stores; read-only.

`machine` checks Python, packages, disk and programs; `repository` checks conf/ and Git; `workflows` checks the settings
of the GitHub repository; `remote` checks the DVC remote; `runs` checks the tracking store. Each finding is one line
with its remedy.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.doctor import machine, remote, repository, runs, workflows
from merit.doctor.finding import Finding, State, within
from merit.errors import MeritError, Refused

SECONDS = 5.0
"""Time limit per check, after which it is reported as missing."""


def examine() -> list[Finding]:
    """Run all checks; return their findings in the order of display."""
    # These imports take seconds: done here, they don't count against the time limit of the remote's check.
    import dvc.repo  # noqa: F401

    import merit.dvc.repo  # noqa: F401

    lock, configuration = _configuration()
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", machine.python),
        ("packages", machine.packages),
        ("disk", machine.disk),
        ("conf files", repository.conf_files),
        ("source", lambda: repository.source(lock)),
        ("git", repository.git_itself),
        ("git remote", repository.remote),
        ("git lfs", repository.lfs),
        (workflows.NAME, workflows.workflows),
        ("dvc remote", remote.dvc),
        ("tracking", lambda: runs.tracking(lock) if lock else iter(())),
        ("signing", lambda: machine.signing(lock)),
        ("images", machine.engines),
        ("haproxy", machine.haproxy),
    ]
    found = within(SECONDS, checks)
    return [configuration, *found]


def _configuration() -> tuple[Lock | None, Finding]:
    """Return the configuration, or None if it can't be read, with the finding about it."""
    name = "configuration"
    if not (artifacts.CONF / "config.yaml").is_file():
        return None, Finding(name, "broken", "no conf/config.yaml here", "run merit in the folder that holds conf/")
    if not artifacts.LOCK.is_file():
        return None, Finding(name, "missing", f"no {artifacts.LOCK}", "'merit compose' writes it")
    try:
        lock = locks.read()
    except MeritError as error:
        return None, Finding(name, "broken", f"{artifacts.LOCK}: {error}", "'merit compose' writes it anew")
    return lock, Finding(name, "ok", f"{artifacts.LOCK} of '{lock.name}' can be read")


def exit_code(found: list[Finding]) -> int:
    """Return 0 if everything needed is present, 1 if something is missing, 2 if something is broken."""
    states = {each.state for each in found}
    return MeritError.exit_code if "broken" in states else Refused.exit_code if "missing" in states else 0


def as_json(found: list[Finding]) -> dict[str, Any]:
    """Return the findings and the exit code as JSON values."""
    return {"exit_code": exit_code(found), "findings": [asdict(each) for each in found]}


WORDS: dict[State, str] = {"ok": "ok", "note": "note", "missing": "MISSING", "broken": "BROKEN"}


def lines(found: list[Finding]) -> list[str]:
    """Return the findings as text: one aligned line each, and a summary."""
    wide = max(len(each.name) for each in found)
    told = [
        f"{WORDS[each.state]:7}  {each.name:{wide}}  {each.found}{f'; {each.do}' if each.do else ''}" for each in found
    ]
    count = {state: sum(each.state == state for each in found) for state in WORDS}
    verdict = (
        f"{count['missing']} missing, {count['broken']} broken" if exit_code(found) else "all that is needed is there"
    )
    return [*told, f"doctor: {verdict}"]
