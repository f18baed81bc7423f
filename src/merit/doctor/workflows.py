"""Checks of the GitHub settings on which the workflows rely: code owners, deployment environments and secrets.

These settings are not in the repository: they are read from GitHub's API. Settings that the API doesn't show are
listed in a note.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from merit import artifacts
from merit.doctor import repository
from merit.doctor.finding import Finding
from merit.github import Api, ApiError

NAME = "github"
FOLDER, OWNERS = Path(".github/workflows"), Path(".github/CODEOWNERS")
PLACEHOLDER = "@OWNER/"
MAIN = "main"
READABLE = {"DVC_READ", "GITHUB_TOKEN"}
"""Secrets that the code of any branch may read, because they grant no write access."""
PAGE = "docs/gitops.md says how"
UNSEEN = "rules of main and of tags, an organisation's secrets, approval of forks' runs"
HIDDEN = {401, 403, 404}
"""GitHub's status codes for a token without access; a private repository answers 404."""


def workflows() -> Iterator[Finding]:
    """Check that GitHub reserves environments and secrets with write access for main."""
    origin = repository.origin()
    if origin is None or not FOLDER.is_dir():
        return
    api = Api.of_clone(origin)
    if api is None:
        yield Finding(NAME, "note", "'origin' is not at github.com, where the workflows run", f"elsewhere: {PAGE}")
        return
    try:
        yield from _owners(api)
        yield from _default_branch(api.call("GET", f"/repos/{api.repository}", tries=1))
        yield from _environments(api)
    except ApiError as error:
        yield _unseen(error)
        return
    yield from _secrets(api)
    yield Finding(
        NAME,
        "note",
        "not looked at: rules of main and of tags, an organisation's secrets, approval of forks' runs",
        PAGE,
    )


def _unseen(error: ApiError) -> Finding:
    if error.status in HIDDEN:
        return Finding(
            NAME, "note", f"environments can't be seen ({error})", "set GITHUB_TOKEN to a token that may read 'actions'"
        )
    return Finding(NAME, "missing", str(error), "see that GitHub can be reached")


def _owners(api: Api) -> Iterator[Finding]:
    """Check that CODEOWNERS exists and has no line that GitHub ignores, such as one with an unknown owner."""
    if not OWNERS.is_file():
        yield Finding("owners", "missing", f"no {OWNERS}", f"let what decides have owners; {PAGE}")
    elif PLACEHOLDER in OWNERS.read_text(encoding="utf-8"):
        message = f"{OWNERS} names {PLACEHOLDER}…, who is nobody, so nothing has an owner"
        yield Finding("owners", "missing", message, "name who answers for the model")
    else:
        errors = api.call("GET", "codeowners/errors", tries=1)["errors"]
        for error in errors:
            message = f"{OWNERS}:{error['line']}: {error['kind']}, so GitHub passes the line over"
            yield Finding("owners", "missing", message, str(error.get("suggestion") or "correct it"))


def _default_branch(answer: dict[str, Any]) -> Iterator[Finding]:
    if answer["default_branch"] != MAIN:
        message = f"the default branch is {answer['default_branch']!r}"
        yield Finding(NAME, "missing", message, f"let it be {MAIN}: verdicts are about merges into that")


def needed() -> dict[str, set[str]]:
    """Return the environments of the workflows' jobs, each with the secrets for write access that its jobs read."""
    environments: dict[str, set[str]] = {}
    for file in sorted(FOLDER.glob("*.yml")):
        for job in yaml.safe_load(file.read_text(encoding="utf-8")).get("jobs", {}).values():
            secrets = set(re.findall(r"secrets\.(\w+)", yaml.safe_dump(job))) - READABLE
            for name in _names(job.get("environment")):
                environments.setdefault(name, set()).update(secrets)
    return environments


def _names(environment: Any) -> list[str]:
    """Return the possible names of a job's environment; for an expression, all environments that conf/ declares."""
    name = environment.get("name") if isinstance(environment, dict) else environment
    if name is None:
        return []
    return [file.stem for file in (artifacts.CONF / "environment").glob("*.yaml")] if "${{" in name else [name]


def _environments(api: Api) -> Iterator[Finding]:
    answer = api.call("GET", "environments?per_page=100", tries=1)
    declared = {environment["name"].casefold(): environment for environment in answer["environments"]}
    safe = []
    for name in sorted(needed()):
        fault = _fault(api, declared.get(name.casefold()))
        if fault:
            yield Finding("environments", "missing", f"'{name}' {fault}", f"let it admit {MAIN} alone; {PAGE}")
        else:
            safe.append(name)
    if safe:
        yield Finding("environments", "ok", f"{', '.join(safe)}: {MAIN} alone")


def _fault(api: Api, environment: dict[str, Any] | None) -> str:
    """Return why branches other than main can use an environment; empty if they can't."""
    if environment is None:
        return "is not there; the first job that names it makes one that is open to all branches"
    policy = environment["deployment_branch_policy"]
    if policy is None:
        return "is open to all branches"
    if not policy["custom_branch_policies"]:
        return "is open to every protected branch, and to all where none is protected"
    path = f"environments/{quote(environment['name'], safe='')}/deployment-branch-policies?per_page=100"
    rules = {(rule["name"], rule.get("type", "branch")) for rule in api.call("GET", path, tries=1)["branch_policies"]}
    if others := sorted(name for name, _ in rules - {(MAIN, "branch")}):
        return f"is open to {', '.join(others)} too"
    return "" if rules else f"is not open to {MAIN}"


def _secrets(api: Api) -> Iterator[Finding]:
    """Check that no secret for write access is a repository secret, because workflows of every branch read those."""
    writable = sorted(set().union(*needed().values()))
    try:
        names = {secret["name"] for secret in api.pages("actions/secrets")}
    except ApiError:
        do = f"see that none of {', '.join(writable)} is among them; they belong to environments"
        yield Finding("secrets", "note", "those of the repository itself can't be seen with this token", do)
        return
    if misplaced := [name for name in writable if name in names]:
        message = f"the repository itself holds {', '.join(misplaced)}, and every branch's workflow reads it"
        yield Finding("secrets", "missing", message, f"move it into an environment, and make it anew; {PAGE}")
    else:
        yield Finding("secrets", "ok", "the repository itself holds none that can write")
