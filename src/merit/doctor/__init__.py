"""doctor: what merit needs of this machine, this repository and the stores that it names, and what of it is there.

`machine` looks at Python, packages, disk and programs, `repository` at Git and the lock, `workflows` at what GitHub
keeps for main, `remote` at what keeps DVC's data, `runs` at what keeps the runs. Each finding is one line with what to
do; nothing is changed.
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
"""How long a check may take before it is given up."""


def examine() -> list[Finding]:
    """Look at everything; the findings in the order in which they are told."""
    # To load these is no part of the time that a remote has to answer.
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
    """Return the lock, if it can be read."""
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
    """Return 0 if all that is needed is there, 1 if some of it is missing, 2 if something is broken."""
    states = {each.state for each in found}
    return MeritError.exit_code if "broken" in states else Refused.exit_code if "missing" in states else 0


def as_json(found: list[Finding]) -> dict[str, Any]:
    """Return the findings as a program reads them."""
    return {"exit_code": exit_code(found), "findings": [asdict(each) for each in found]}


WORDS: dict[State, str] = {"ok": "ok", "note": "note", "missing": "MISSING", "broken": "BROKEN"}


def lines(found: list[Finding]) -> list[str]:
    """Return the findings as a person reads them: one line each, and what they come to."""
    wide = max(len(each.name) for each in found)
    told = [
        f"{WORDS[each.state]:7}  {each.name:{wide}}  {each.found}{f'; {each.do}' if each.do else ''}" for each in found
    ]
    count = {state: sum(each.state == state for each in found) for state in WORDS}
    verdict = (
        f"{count['missing']} missing, {count['broken']} broken" if exit_code(found) else "all that is needed is there"
    )
    return [*told, f"doctor: {verdict}"]
